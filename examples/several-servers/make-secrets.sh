#!/bin/sh
# Makes the secrets that compose.yaml names, in a new directory that is in no checkout and in no build context:
#
#     LYFTDATA_SECRETS="$HOME/.config/lyftdata-several-servers" sh make-secrets.sh
#
# The directory keeps other users of this host out (0700). The files in it are readable, since Docker mounts each of them
# with owner and mode as they are, and the Server in its container runs as another user.
set -eu
: "${LYFTDATA_SECRETS:?set it to the directory to make}"

random() {
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

case "$LYFTDATA_SECRETS" in */*) (umask 077 && mkdir -p "${LYFTDATA_SECRETS%/*}") ;; esac
# Fails if it is there: secrets that are in use are never replaced.
mkdir -m 700 "$LYFTDATA_SECRETS"
umask 022
random > "$LYFTDATA_SECRETS/secret-key"
random > "$LYFTDATA_SECRETS/admin-password"
random > "$LYFTDATA_SECRETS/database-password"
# The certificate of the database, by which the Servers know it.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj /CN=database \
    -addext subjectAltName=DNS:database -keyout "$LYFTDATA_SECRETS/database-key" -out "$LYFTDATA_SECRETS/database-cert"
printf 'postgresql://lyftdata:%s@database/lyftdata?sslmode=verify-full&sslrootcert=/run/secrets/database-cert' \
    "$(cat "$LYFTDATA_SECRETS/database-password")" > "$LYFTDATA_SECRETS/database-url"
