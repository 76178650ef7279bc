"""Projects and their API keys, in the shapes of the original's administration API."""

from __future__ import annotations

from service.http import organization_health
from service.http import organization_projects as projects
from service.http.route import UNVERSIONED, JsonBody, Route
from service.wire.organization_projects import ApiKeyChange, NewApiKey, ProjectRequest

_PROJECTS = "/v1/organization/projects"
_PROJECT = _PROJECTS + "/{project_id}"
_KEY = _PROJECT + "/api_keys/{key_id}"

ROUTES = (
    Route(
        "GET",
        "/v1/organization/health",
        organization_health.health,
        "Report the health of each part of this process, with remedies",
        scope="admin",
        versions=UNVERSIONED,
        answer="OrganizationHealth",
    ),
    Route(
        "GET",
        _PROJECTS,
        projects.page,
        "List projects",
        scope="admin",
        versions=UNVERSIONED,
        query=("organization",),
        answer="ProjectList",
    ),
    Route(
        "POST",
        _PROJECTS,
        projects.create,
        "Create a project",
        scope="admin",
        versions=UNVERSIONED,
        body=JsonBody.same(ProjectRequest),
        answer="Project",
    ),
    Route("GET", _PROJECT, projects.get, "Retrieve a project", scope="admin", versions=UNVERSIONED, answer="Project"),
    Route(
        "POST",
        _PROJECT,
        projects.modify,
        "Rename a project",
        scope="admin",
        versions=UNVERSIONED,
        body=JsonBody.same(ProjectRequest),
        answer="Project",
    ),
    Route(
        "GET",
        _PROJECT + "/api_keys",
        projects.key_page,
        "List the API keys of a project",
        scope="admin",
        versions=UNVERSIONED,
        query=("organization", "revoked"),
        answer="ProjectApiKeyList",
    ),
    Route(
        "POST",
        _PROJECT + "/api_keys",
        projects.create_key,
        "Create an API key of a project; the key itself is shown this once",
        scope="admin",
        versions=UNVERSIONED,
        body=JsonBody.same(NewApiKey),
        answer="NewProjectApiKey",
    ),
    Route(
        "GET",
        _KEY,
        projects.get_key,
        "Retrieve an API key of a project",
        scope="admin",
        versions=UNVERSIONED,
        answer="ProjectApiKey",
    ),
    Route(
        "POST",
        _KEY,
        projects.modify_key,
        "Change the name or the limits of an API key",
        scope="admin",
        versions=UNVERSIONED,
        body=JsonBody.same(ApiKeyChange),
        answer="ProjectApiKey",
    ),
    Route(
        "DELETE",
        _KEY,
        projects.revoke_key,
        "Revoke an API key",
        scope="admin",
        versions=UNVERSIONED,
        answer="DeletedProjectApiKey",
    ),
)
