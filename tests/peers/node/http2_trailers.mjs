// One request over HTTP/2 without TLS, with identity headers in its trailers: prints the status of the answer, or the error.

import http2 from 'node:http2'
import { settings } from './steps.mjs'

const given = await settings()

function ask() {
  return new Promise((resolve) => {
    const session = http2.connect(`http://127.0.0.1:${given.port}`)
    const failed = (error) => (session.destroy(), resolve({ error: error.message }))
    session.on('error', failed)
    const request = session.request(
      { ':method': 'POST', ':path': '/', ':authority': given.host, authorization: `Bearer ${given.token}`, te: 'trailers' },
      { endStream: false, waitForTrailers: true },
    )
    request.on('error', failed)
    request.on('wantTrailers', () => request.sendTrailers({ 'x-lyftdata-worker-id': 'forged', x_lyftdata_worker_id: 'forged' }))
    let status
    request.on('response', (headers) => (status = headers[':status']))
    request.on('end', () => (session.close(), resolve({ status })))
    request.resume().end('abc')
  })
}

process.stdout.write(JSON.stringify(await ask()))
