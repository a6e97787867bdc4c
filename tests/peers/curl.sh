#!/bin/sh
# A Worker by hand: token, introspection, revocation. URL, ID, KEY, AUDIENCE, RESOURCE and RESOURCE_KEY are given.
set -eu

# --- configuration: the pages show this part --- [configuration]
# A token for this Server, and one for a service.
token=$(curl -sS --fail-with-body -u "$ID:$KEY" -d grant_type=client_credentials "$URL/oauth2/token" |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')
for_service=$(curl -sS --fail-with-body -u "$ID:$KEY" -d grant_type=client_credentials \
  --data-urlencode "resource=$AUDIENCE" -d scope=read "$URL/oauth2/token" |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')

# What a proxy asks, and what the service asks.
curl -sS -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $token" "$URL/auth/verify"
curl -sS --fail-with-body -u "$RESOURCE:$RESOURCE_KEY" -d "token=$for_service" "$URL/oauth2/introspect"
echo

# The Worker takes its token back.
curl -sS --fail-with-body -u "$ID:$KEY" -d "token=$token" "$URL/oauth2/revoke"
curl -sS -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $token" "$URL/auth/verify"
# --- [/configuration]
