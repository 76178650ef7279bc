"""The console. Its page and files need no key; its own requests to the API carry the cookie of a session."""

from __future__ import annotations

from service.http import console
from service.http.route import SIGN_IN_BODY, UNVERSIONED, JsonBody, Route
from service.wire.console import SignIn

_SESSION = "/console/session"

ROUTES = (
    Route(
        "GET",
        "/",
        console.root,
        "Leads a browser to the console",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
        media="text/html",
    ),
    Route(
        "GET",
        _SESSION,
        console.session,
        "Who is signed in to the console",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
    ),
    Route(
        "POST",
        _SESSION,
        console.sign_in,
        "Sign in to the console with an API key or a link",
        scope="full",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
        body=JsonBody.same(SignIn),
        limit=SIGN_IN_BODY,
    ),
    Route(
        "DELETE",
        _SESSION,
        console.sign_out,
        "Sign out of the console",
        scope="full",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
    ),
    Route(
        "GET",
        "/console/assets/{version}/{file:.+}",
        console.asset,
        "A file of the console",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
        media="application/octet-stream",
    ),
    Route(
        "GET",
        "/console",
        console.page,
        "The console",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
        media="text/html",
    ),
    Route(
        "GET",
        "/console/{view:.*}",
        console.view,
        "A view of the console",
        scope="read",
        versions=UNVERSIONED,
        access="public",
        cost="nothing",
        media="text/html",
    ),
)
