// `oidc-provider` as a token endpoint for many clients, and for their registration: in memory, ES256 throughout.
//
//   node oidc_provider.mjs PORT CLIENTS static|adapter
//
// CLIENTS is a file with an ID and a secret per line. `static` puts them into the provider's configuration, which it checks once
// and keeps ready; `adapter` puts them into its store, which is necessary to add clients while it runs.

import { createServer } from 'node:http'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'

const modules = new URL('../../tests/peers/node/node_modules/', import.meta.url)
const { default: Provider } = await import(new URL('oidc-provider/lib/index.js', modules))

const [port, file, keeps] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`
const privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })

const clients = readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => {
  const [id, secret] = line.split(' ')
  return {
    client_id: id, client_secret: secret, token_endpoint_auth_method: 'client_secret_post',
    redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
  }
})

// Unbounded, while the provider's example holds a thousand entries: nothing may be dropped while it is measured.
const stores = new Map()
class Memory {
  constructor(name) {
    if (!stores.has(name)) stores.set(name, new Map())
    this.kept = stores.get(name)
  }
  async upsert(id, payload) { this.kept.set(id, payload) }
  async find(id) { return this.kept.get(id) }
  async destroy(id) { this.kept.delete(id) }
  async consume() {}
  async findByUid() {}
  async findByUserCode() {}
  async revokeByGrantId() {}
}
if (keeps === 'adapter') {
  const kept = new Memory('Client')
  for (const client of clients) await kept.upsert(client.client_id, client)
}

const provider = new Provider(issuer, {
  adapter: Memory,
  jwks: { keys: [{ ...privateKey, kid: 'bench', alg: 'ES256', use: 'sig' }] },
  clients: keeps === 'static' ? clients : [],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  clientDefaults: { grant_types: ['client_credentials'], response_types: [], id_token_signed_response_alg: 'ES256' },
  enabledJWA: { clientAuthSigningAlgValues: ['ES256'] },
  cookies: { keys: ['of this run'] },
  ttl: { ClientCredentials: 900 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    registration: { enabled: true, initialAccessToken: process.env.BENCH_INITIAL_ACCESS_TOKEN ?? false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => issuer,
      getResourceServerInfo: () => ({
        scope: 'work', audience: issuer, accessTokenFormat: 'jwt', accessTokenTTL: 900, jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
})

createServer(provider.callback()).listen(port, '127.0.0.1')
