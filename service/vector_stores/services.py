"""The operations on vector stores, as handlers use them."""

from __future__ import annotations

from dataclasses import dataclass

from service.vector_stores.attachments import Attachments
from service.vector_stores.builder import StoreBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStoreServices:
    """Creates and fills vector stores: by themselves, and for the assistants and threads that name them."""

    builder: StoreBuilder
    attachments: Attachments
