// A service that checks tokens with `jose` and keeps its JWKS: a token a line in, what came of it a line out.

import { createInterface } from 'node:readline'
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const given = JSON.parse((await lines.next()).value)
let fetched = 0
const counting = { [customFetch]: (...request) => ((fetched += 1), fetch(...request)) }

// --- configuration: the pages show this part --- [configuration]
// Once, when the service starts: it fetches when it must, and keeps what it has.
const jwks = createRemoteJWKSet(new URL(given.jwks_uri), counting)

async function claims(token) {
  const wanted = { issuer: given.issuer, audience: given.audience, typ: 'at+jwt', algorithms: ['ES256'] }
  const { payload, protectedHeader } = await jwtVerify(token, jwks, wanted)
  // Bound to a key (DPoP): stolen, it must be worth nothing without a proof, which is not checked here.
  if (payload.cnf) throw new Error('a bound token')
  return { ...payload, kid: protectedHeader.kid }
}
// --- [/configuration]

for await (const token of { [Symbol.asyncIterator]: () => lines }) {
  const told = await claims(token).then(({ sub, kid }) => ({ sub, kid }), ({ code, message }) => ({ code: code ?? message }))
  console.log(JSON.stringify({ ...told, fetched }))
}
