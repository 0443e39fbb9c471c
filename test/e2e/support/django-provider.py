#!/usr/bin/python3
"""Debian's django-oauth-toolkit as an OpenID provider on loopback, with a database of its own in a temporary folder.

The first line of stdin says who there is: {"users": {"alice": "password"}, "disabled": ["alice"]}. One line of JSON on
stdout then says that it serves, where, and with which clients. Every further line is a command, answered by one line:

    {"do": "token", "user": "alice", "client": "xmpp", "scope": "openid", "expires_in": 60}
    {"do": "id_token", "user": "alice", "client": "xmpp"}
    {"do": "live_tokens", "user": "alice"}
    {"do": "requests"}

The end of stdin ends it.
"""

import json
import os
import sys
import tempfile
import threading
from datetime import timedelta

try:
    import django
    import oauth2_provider  # noqa: F401
    from django.conf import settings
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from jwcrypto import jwk
    from oauthlib.common import Request, generate_token
    from oauthlib.openid.connect.core.grant_types import AuthorizationCodeGrant
except ImportError as missing:
    sys.exit(f"{missing}: apt-get install python3-django-oauth-toolkit")

# Bound before Django is set up, because the issuer names the port.
server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
origin = f"http://127.0.0.1:{server.server_port}"
folder = tempfile.TemporaryDirectory(prefix="django-provider-")

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(folder.name, "db.sqlite3"),
        }
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    LOGGING_CONFIG=None,
    # What `django-admin startproject` switches on and what matters here: APPEND_SLASH lives in CommonMiddleware.
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_ISS_ENDPOINT": f"{origin}/o",
        "OIDC_RSA_PRIVATE_KEY": jwk.JWK.generate(kty="RSA", size=2048)
        .export_to_pem(private_key=True, password=None)
        .decode(),
        "OAUTH2_VALIDATOR_CLASS": f"{__name__}.NamingValidator",
        "PKCE_REQUIRED": False,
        "SCOPES": {"openid": "OpenID Connect", "profile": "The user's name"},
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=generate_token(50),
    USE_TZ=True,
)
django.setup()

# Models exist from here on only.
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import close_old_connections  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.utils import timezone  # noqa: E402
from oauth2_provider.models import AccessToken, Application, RefreshToken  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402

urlpatterns = [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]


class NamingValidator(OAuth2Validator):
    """UserInfo and ID tokens name the user; as shipped they have nothing but `sub`, the number of a row."""

    # From 2.0 on, claims depend on scopes; None means that this one does not.
    oidc_claim_scope = None

    def get_additional_claims(self):
        return {"preferred_username": lambda request: request.user.get_username()}


def create_client(client_id, grant_type):
    """A confidential client. Returns its secret, because 2.0 and later save a hash of it only."""
    # What must be encoded in a form, in a header, or in both (RFC 6749 section 2.3.1).
    secret = f"{generate_token()} +%41:&=/é~"
    client = Application(
        client_id=client_id,
        client_secret=secret,
        name=client_id,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=grant_type,
        algorithm=Application.RS256_ALGORITHM,
        redirect_uris=f"{origin}/callback",
    )
    client.full_clean(exclude=["user"])
    client.save()
    return secret


requests = []
# SQLite takes one writer at a time and gives up on some who wait; a request holds this for milliseconds.
one_at_a_time = threading.Lock()


def recorded(application):
    """The same WSGI application, which also remembers what was asked and how it was answered."""

    def serve(environ, start_response):
        def start(status, *rest):
            requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {status.split()[0]}")
            return start_response(status, *rest)

        with one_at_a_time:
            return application(environ, start)

    return serve


def token(user, client, scope, expires_in):
    """A token as the authorization code grant leaves it; without a user, as client credentials do."""
    person = user and get_user_model().objects.get_by_natural_key(user)
    application = Application.objects.get(client_id=client)
    access = AccessToken.objects.create(
        user=person,
        application=application,
        token=generate_token(),
        scope=scope,
        expires=timezone.now() + timedelta(seconds=expires_in),
    )
    if person is None:
        return {"access_token": access.token}
    refresh = RefreshToken.objects.create(
        user=person, application=application, token=generate_token(), access_token=access
    )
    return {"access_token": access.token, "refresh_token": refresh.token}


def id_token(user, client):
    """An ID token as the authorization code grant makes it, beside an access token."""
    request = Request("/o/token/")
    request.user = get_user_model().objects.get_by_natural_key(user)
    request.client = Application.objects.get(client_id=client)
    request.client_id = client
    request.scopes = ["openid"]
    grant = AuthorizationCodeGrant(request_validator=NamingValidator())
    return grant.add_id_token({"access_token": generate_token()}, None, request)["id_token"]


def live_tokens(user):
    return {
        "access": AccessToken.objects.filter(user__username=user, expires__gt=timezone.now()).count(),
        "refresh": RefreshToken.objects.filter(user__username=user, revoked__isnull=True).count(),
    }


COMMANDS = {"token": token, "id_token": id_token, "live_tokens": live_tokens, "requests": lambda: requests}


def answer(do, **arguments):
    try:
        with one_at_a_time:
            return {"result": COMMANDS[do](**arguments)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        close_old_connections()


def say(value):
    print(json.dumps(value), flush=True)


def main():
    people = json.loads(sys.stdin.readline())
    call_command("migrate", verbosity=0)
    for name, password in people["users"].items():
        user = get_user_model().objects.create_user(name, password=password)
        user.is_active = name not in people["disabled"]
        user.last_login = timezone.now()
        user.save()
    secrets = {
        "xmpp": create_client("xmpp", Application.GRANT_PASSWORD),
        "other-app": create_client("other-app", Application.GRANT_AUTHORIZATION_CODE),
    }
    server.set_app(recorded(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say({"port": server.server_port, "secrets": secrets})
    for line in sys.stdin:
        say(answer(**json.loads(line)))
    server.shutdown()


with folder:
    main()
