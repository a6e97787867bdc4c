#!/bin/sh
# Lets Workers log in at OpenBao. Its operator runs this once, with BAO_ADDR and a token that may do so (`bao login`).
set -eu

server=https://lyftdata.example.com
audience=https://bao.example.com

bao auth enable -path=lyftdata -default-lease-ttl=5m -max-lease-ttl=5m jwt
bao write auth/lyftdata/config jwks_url="$server/.well-known/jwks.json" bound_issuer="$server" jwt_supported_algs=ES256

# By its ID, each Worker reads its own secret.
accessor=$(bao auth list -format=json | sed -n '/"lyftdata\/"/,/}/s/.*"accessor": "\(.*\)".*/\1/p')
bao policy write worker - <<EOF
path "secret/data/workers/{{identity.entity.aliases.$accessor.name}}" {
  capabilities = ["read"]
}
EOF

# By a label, in a role that demands it. Labels of Workers that enrolled themselves are their own word: those stay out.
bao policy write zone-eu - <<EOF
path "secret/data/zones/eu-1" {
  capabilities = ["read"]
}
EOF

# Batch tokens (2u) cannot be renewed: after five minutes a Worker must show a worker token again. A worker token ends when it says so,
# without the minutes of leeway that OpenBao adds by default. One that is bound to a key (cnf) needs a proof, which OpenBao cannot check.
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
