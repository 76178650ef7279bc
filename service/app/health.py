"""The parts whose health `/healthz` reports."""

from __future__ import annotations

from service import database
from service.app.core import Core
from service.app.toolbox import Toolbox
from service.audit.attesters import AttestationCollector
from service.audit.checkpoint_signer import CheckpointSigner
from service.audit.run_checks import RunChecker
from service.audit.sequencer import Sequencer
from service.embedded.data_dir import default_data_dir
from service.replay.generation_fill import GenerationFill
from service.sandbox.base import MIB
from service.search.parse.sandbox_process import describe_fallback
from service.settings import Settings
from service.telemetry.disk_space import DiskSpace
from service.telemetry.health import Health


def collect_health(
    settings: Settings,
    core: Core,
    toolbox: Toolbox,
    sequencer: Sequencer,
    checkpoints: CheckpointSigner,
    attestations: AttestationCollector,
    run_checks: RunChecker,
    generations: GenerationFill,
) -> Health:
    home = settings.data_dir or default_data_dir()
    folders = {"the data directory": home, "the files": home / "blobs", "the embedded Postgres": home / "postgres"}
    required = {
        "database": lambda: database.healthy(core.pool),
        "model": core.model.check_health,
        "disk": DiskSpace(folders, min_free=settings.min_free_disk_mb * MIB).check,
        "upgrade": core.peers.check_epoch,
    }
    optional = {
        "code_interpreter": toolbox.hosted.code.state,
        "file_parsing": lambda: describe_fallback(toolbox.probe),
    }
    degrading = {
        "audit_log": sequencer.check_health,
        "checkpoints": checkpoints.check_health,
        "views": run_checks.check_health,
        "view_generations": generations.check_health,
    }
    if core.attesters:
        degrading["attestations"] = attestations.check_health
    return Health(required, degrading=degrading, optional=optional)
