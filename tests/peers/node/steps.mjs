// What every client script here shares: settings in on standard input, one JSON object of steps out, and errors as values.

import { text } from 'node:stream/consumers'

/** Read the settings that the test wrote to standard input. */
export async function settings() {
  return JSON.parse(await text(process.stdin))
}

/**
 * Run each step in turn; a step that throws is told as what it threw and does not end the others.
 *
 * @param {Record<string, () => Promise<unknown>>} steps
 */
export async function walk(steps) {
  const told = {}
  for (const [name, step] of Object.entries(steps)) {
    try {
      told[name] = { ok: (await step()) ?? true }
    } catch (error) {
      told[name] = { refused: await described(error) }
    }
  }
  process.stdout.write(JSON.stringify(told))
}

/** What an error of a client says: its own code, and the server's answer as far as the client has read it. */
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

/** The two parts of a JWT that anybody can read. */
export function read(jwt) {
  const [header, claims] = jwt.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  return { header, claims }
}
