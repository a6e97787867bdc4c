// A Worker that calls tools of an MCP server, with the TypeScript SDK.

import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { ClientCredentialsProvider, PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { settings, walk } from './steps.mjs'

const given = await settings()

// --- configuration: the pages show this part --- [configuration]
/** For a Worker with an API key; `expectedIssuer` keeps the key from any other authorization server. */
function byApiKey({ id, secret }, issuer) {
  return new ClientCredentialsProvider({ clientId: id, clientSecret: secret, expectedIssuer: issuer })
}

/** For a Worker that has registered the public half of a P-256 key. */
function byIdentityKey({ id, pem }, issuer) {
  return new PrivateKeyJwtProvider({ clientId: id, privateKey: pem, algorithm: 'ES256', expectedIssuer: issuer })
}

/** Call a tool; the client discovers by itself where to get a token. */
async function call(url, authProvider, name) {
  const client = new Client({ name: 'press', version: '1.0.0' })
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }))
  const result = await client.callTool({ name, arguments: {} })
  await client.close()
  return result.structuredContent.result
}
// --- [/configuration]

await walk({
  api_key: () => call(given.url, byApiKey(given.worker, given.issuer), 'whoami'),
  identity_key: () => call(given.url, byIdentityKey(given.enrolled, given.issuer), 'whoami'),
  wrong_key: () => call(given.url, byApiKey({ ...given.worker, secret: 'wrong' }, given.issuer), 'whoami'),
  not_granted: () => call(given.url, byApiKey(given.notGranted, given.issuer), 'whoami'),
})
