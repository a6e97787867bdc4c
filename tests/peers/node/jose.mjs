// A service that verifies tokens with `jose` and keeps the JWKS: reads a token per line, and writes the result on a line.

import { createInterface } from 'node:readline'
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const given = JSON.parse((await lines.next()).value)
let fetched = 0
const counting = { [customFetch]: (...request) => ((fetched += 1), fetch(...request)) }

// --- configuration: the pages show this part --- [configuration]
// Once, when the service starts: it fetches the keys when it must, and keeps them.
const jwks = createRemoteJWKSet(new URL(given.jwks_uri), counting)

async function claims(token) {
  const wanted = { issuer: given.issuer, audience: given.audience, typ: 'at+jwt', algorithms: ['ES256'] }
  const { payload, protectedHeader } = await jwtVerify(token, jwks, wanted)
  // Bound to a key (DPoP): it must be useless without a proof if stolen, and proofs are not checked here.
  if (payload.cnf) throw new Error('a bound token')
  return { ...payload, kid: protectedHeader.kid }
}
// --- [/configuration]

for await (const token of { [Symbol.asyncIterator]: () => lines }) {
  const outcome = await claims(token).then(({ sub, kid }) => ({ sub, kid }), ({ code, message }) => ({ code: code ?? message }))
  console.log(JSON.stringify({ ...outcome, fetched }))
}
