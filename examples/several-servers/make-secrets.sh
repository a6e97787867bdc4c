#!/bin/sh
# Create the secrets for compose.yaml, in a new directory outside the checkout and the build context:
#
#     LYFTDATA_SECRETS="$HOME/.config/lyftdata-several-servers" sh make-secrets.sh
#
# Only its owner can enter the directory (0700). The files in it are world-readable, because Docker mounts them with their owner and
# mode, and the Server in the container runs as a different user.
set -eu
: "${LYFTDATA_SECRETS:?set it to the directory to make}"

random() {
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

case "$LYFTDATA_SECRETS" in */*) (umask 077 && mkdir -p "${LYFTDATA_SECRETS%/*}") ;; esac
# Fails if the directory exists, so that secrets in use are never overwritten.
mkdir -m 700 "$LYFTDATA_SECRETS"
umask 022
random > "$LYFTDATA_SECRETS/secret-key"
random > "$LYFTDATA_SECRETS/admin-password"
random > "$LYFTDATA_SECRETS/database-password"
# The database's self-signed certificate, which the Servers trust.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj /CN=database \
    -addext subjectAltName=DNS:database -keyout "$LYFTDATA_SECRETS/database-key" -out "$LYFTDATA_SECRETS/database-cert"
printf 'postgresql://lyftdata:%s@database/lyftdata?sslmode=verify-full&sslrootcert=/run/secrets/database-cert' \
    "$(cat "$LYFTDATA_SECRETS/database-password")" > "$LYFTDATA_SECRETS/database-url"
