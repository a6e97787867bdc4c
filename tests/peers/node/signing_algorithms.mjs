// Whether `jose` and `oauth4webapi` accept a token, whatever its signing algorithm.

import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import { settings, walk } from './steps.mjs'

const { issuer, token } = await settings()
const jwksUri = new URL(`${issuer}/.well-known/jwks.json`)

async function byJose() {
  const { payload } = await jwtVerify(token, createRemoteJWKSet(jwksUri), { issuer, audience: issuer, typ: 'at+jwt' })
  return payload.sub
}

async function byOauth4webapi() {
  const request = new Request(issuer, { headers: { authorization: `Bearer ${token}` } })
  const server = { issuer, jwks_uri: jwksUri.href }
  const claims = await oauth.validateJwtAccessToken(server, request, issuer, { [oauth.allowInsecureRequests]: true })
  return claims.sub
}

await walk({ jose: byJose, oauth4webapi: byOauth4webapi })
