#!/bin/sh
# A Worker with curl: token, introspection, revocation. Needs URL, ID, KEY, AUDIENCE, RESOURCE and RESOURCE_KEY.
set -eu

# --- configuration: the pages show this part --- [configuration]
# Every user of the machine can read a program's arguments, so secrets are passed on standard input, as curl's configuration.
user() { printf 'user = "%s:%s"\n' "$1" "$2"; }
bearer() { printf 'header = "Authorization: Bearer %s"\n' "$1"; }
token() { printf 'data = "token=%s"\n' "$1"; }

# A token for this Server, and one for a service.
token=$(user "$ID" "$KEY" |
  curl -sS --fail-with-body -K - -d grant_type=client_credentials "$URL/oauth2/token" |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')
for_service=$(user "$ID" "$KEY" |
  curl -sS --fail-with-body -K - -d grant_type=client_credentials \
    --data-urlencode "resource=$AUDIENCE" -d scope=read "$URL/oauth2/token" |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')

# The request of a proxy, and the request of the service.
bearer "$token" | curl -sS -o /dev/null -w '%{http_code}\n' -K - "$URL/auth/verify"
{ user "$RESOURCE" "$RESOURCE_KEY"; token "$for_service"; } |
  curl -sS --fail-with-body -K - "$URL/oauth2/introspect"
echo

# The Worker revokes its token.
{ user "$ID" "$KEY"; token "$token"; } | curl -sS --fail-with-body -K - "$URL/oauth2/revoke"
bearer "$token" | curl -sS -o /dev/null -w '%{http_code}\n' -K - "$URL/auth/verify"
# --- [/configuration]
