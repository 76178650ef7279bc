"""Access control, as handlers use it."""

from __future__ import annotations

from dataclasses import dataclass

from service.access.keys import Keys
from service.access.rate_limits import RateLimits
from service.access.signed_tokens import Signer
from service.access.storage_quota import StorageQuota
from service.access.stream_limits import StreamLimits
from service.access.wrong_keys import WrongKeyLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl:
    """Decides which requests may go on; the signer makes and checks tokens for clients without a key."""

    keys: Keys
    limits: RateLimits
    streams: StreamLimits
    signer: Signer
    wrong_keys: WrongKeyLimit
    storage: StorageQuota
