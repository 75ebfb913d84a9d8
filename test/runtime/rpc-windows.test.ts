import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientHttp2Session, connect } from 'node:http2'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { listenHandover } from '../../services/runtime/handover-server.ts'
import { serverWindowBytes } from '../../services/runtime/rpc-windows.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'

const standardWindowBytes = 65_535

function windowOf(session: ClientHttp2Session): number {
  return session.state.remoteWindowSize ?? 0
}

test('gRPC servers: a client may send far ahead from its first stream on', async (t) => {
  const taker = { refuse: () => 'nobody is taken here', take: () => {} }
  const listener = await listenHandover({ host: '127.0.0.1', port: 0, taker, log: silentLog })
  const session = connect(`http://127.0.0.1:${listener.address.port}`)
  t.after(async () => {
    session.destroy()
    await listener.close()
  })
  await once(session, 'remoteSettings')
  assert.equal(session.remoteSettings.initialWindowSize, standardWindowBytes)
  const stream = session.request({
    ':method': 'POST',
    ':path': '/qmq.v1.HandoverService/HandOver',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.on('error', () => {})
  // Both come behind the stream, each by a frame of its own.
  for (let tries = 0; tries < 500 && windowOf(session) <= standardWindowBytes; tries++) await sleep(10)
  assert.equal(windowOf(session), serverWindowBytes)
  assert.equal(session.remoteSettings.initialWindowSize, serverWindowBytes)
})
