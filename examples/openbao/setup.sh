#!/bin/sh
# Let Workers log in to OpenBao. Run this once, with BAO_ADDR set and a token that may configure auth methods (`bao login`).
set -eu

server=https://lyftdata.example.com
audience=https://bao.example.com

bao auth enable -path=lyftdata -default-lease-ttl=5m -max-lease-ttl=5m jwt
bao write auth/lyftdata/config jwks_url="$server/.well-known/jwks.json" bound_issuer="$server" jwt_supported_algs=ES256

# By ID: each Worker reads its own secret.
accessor=$(bao auth list -format=json | sed -n '/"lyftdata\/"/,/}/s/.*"accessor": "\(.*\)".*/\1/p')
bao policy write worker - <<EOF
path "secret/data/workers/{{identity.entity.aliases.$accessor.name}}" {
  capabilities = ["read"]
}
EOF

# By label, in a role that requires it. Auto-enrolled Workers report their own labels, so the role excludes them.
bao policy write zone-eu - <<EOF
path "secret/data/zones/eu-1" {
  capabilities = ["read"]
}
EOF

# Batch tokens (2u) cannot be renewed: after five minutes a Worker must log in again with a worker token. Expiry is exact, without the
# minutes of leeway that OpenBao adds by default. A token bound to a key (cnf) needs a proof of possession, which OpenBao cannot check.
role() {
  bao write "auth/lyftdata/cel/role/$1" - <<EOF
{
  "bound_audiences": ["$audience"],
  "expiration_leeway": -1,
  "not_before_leeway": -1,
  "clock_skew_leeway": -1,
  "cel_program": {
    "expression": "!has(claims.cnf) && ($2) ? pb.Auth{alias: logical.Alias{name: claims.sub}, policies: ['$3'], no_default_policy: true, token_type: 2u} : 'not by this role'"
  }
}
EOF
}
role worker true worker
role zone-eu "claims.auth_strategy == 'api_key' && has(claims.labels.zone) && claims.labels.zone == 'eu-1'" zone-eu
