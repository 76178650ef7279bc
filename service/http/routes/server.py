"""The operations of the server itself: health, counts, and its own description."""

from __future__ import annotations

from service.http import health, metrics
from service.http.openapi import pages
from service.http.route import UNVERSIONED, Route

ROUTES = (
    Route(
        "GET",
        "/healthz",
        health.healthz,
        "Whether this process can serve",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
    ),
    Route(
        "GET",
        "/metrics",
        metrics.metrics,
        "Counts for Prometheus",
        scope="read",
        versions=UNVERSIONED,
        access="local",
        media="text/plain",
    ),
    Route(
        "GET",
        "/openapi.json",
        pages.openapi,
        "This document",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
    ),
    Route(
        "GET",
        "/docs",
        pages.docs,
        "This document as a page",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
        media="text/html",
    ),
)
