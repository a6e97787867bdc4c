// What every client script here shares: settings from standard input, one JSON object of steps as output, errors as values.

import { text } from 'node:stream/consumers'

/** Read the settings that the test wrote to standard input. */
export async function settings() {
  return JSON.parse(await text(process.stdin))
}

/**
 * Run each step in turn; if a step throws, the error is its result, and the next steps still run.
 *
 * @param {Record<string, () => Promise<unknown>>} steps
 */
export async function walk(steps) {
  const results = {}
  for (const [name, step] of Object.entries(steps)) {
    try {
      results[name] = { ok: (await step()) ?? true }
    } catch (error) {
      results[name] = { refused: await described(error) }
    }
  }
  process.stdout.write(JSON.stringify(results))
}

/** A client's error as values: its own code, and the server's answer as far as the client has read it. */
export async function described(error) {
  const response = error.response ?? (error.cause instanceof Response ? error.cause : undefined)
  const challenge = response?.headers.get('www-authenticate')
  return {
    name: error.name,
    message: error.message,
    code: error.code,
    status: error.status ?? response?.status,
    error: error.error ?? (Array.isArray(error.cause) ? error.cause[0]?.parameters?.error : undefined),
    challenge: challenge?.split(' ')[0],
  }
}

/** The readable parts of a JWT: header and claims. */
export function read(jwt) {
  const [header, claims] = jwt.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  return { header, claims }
}
