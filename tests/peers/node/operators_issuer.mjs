// An OpenID Connect issuer for operators: `oidc-provider` with its own sign-in pages, groups by the name that is entered, and
// back-channel logout.

import { createServer } from 'node:http'
import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'
import { settings } from './steps.mjs'

const given = await settings()
const { privateKey } = await generateKeyPair('RS256', { extractable: true })

const provider = new Provider(given.issuer, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig' }] },
  clients: [
    {
      client_id: given.client_id,
      client_secret: given.client_secret,
      redirect_uris: [`${given.server}/login/oidc/callback`],
      backchannel_logout_uri: `${given.server}/login/oidc/logout`,
      backchannel_logout_session_required: true,
    },
  ],
  claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: given.groups[id] ?? [] }),
  }),
  pkce: { required: () => true },
  // Without its own dispatcher, which refuses to connect to this machine, and without its time limit, which a busy machine exceeds.
  fetch: (url, { dispatcher, signal, ...options }) => fetch(url, options),
  cookies: { keys: ['only for tests'] },
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
})

createServer(provider.callback()).listen(new URL(given.issuer).port, '127.0.0.1', () => console.log('ready'))
