/** Calls that do not come about, on real sockets: each is explained in one sentence that says who and what, and nothing of the library's. */

import assert from 'node:assert/strict'
import net from 'node:net'
import { it } from 'node:test'
import { handoverMessageBytesMax, handoverService } from '../../services/runtime/handover-wire.ts'
import { RpcClient, type RpcTarget } from '../../services/runtime/rpc-client.ts'
import { plainReason } from '../../services/runtime/rpc-reason.ts'
import { listenRpc } from '../../services/runtime/rpc-server.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { freePortRange } from '../support/free-ports.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { TestAuthority } from '../support/test-authority.ts'

function whyOf(test: Cleanup, target: RpcTarget): Promise<string> {
  const client = new RpcClient(target, handoverService(), handoverMessageBytesMax)
  test.after(() => client.close())
  return new Promise((resolve) => {
    const stream = client.open('HandOver', { timeoutMs: 1000 }, (failure) => resolve(failure?.why ?? 'ended well'))
    stream.on('data', () => {})
    stream.write({ hello: {} })
  })
}

async function portOf(test: Cleanup, heard: (socket: net.Socket) => void): Promise<number> {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    heard(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  test.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as net.AddressInfo).port
}

it('whoever is not there, is silent, hangs up or is somebody else is named', async (test) => {
  const host = '127.0.0.1'
  const [authority, other] = [await TestAuthority.make(test, 1), await TestAuthority.make(test, 2)]
  const tls = await authority.tls(['qmq://mail.example.com/tier/queue/01'])
  const strange = await other.tls(['qmq://mail.example.com/tier/queue/02'])
  const server = await listenRpc({
    ...{ place: { host, port: 0, tls: () => tls }, log: silentLog, admit: () => undefined },
    offers: [{ service: handoverService(), handlers: { HandOver: { kind: 'duplex', open: () => {} } } }],
    messageBytesMax: handoverMessageBytesMax,
  })
  test.after(() => server.close())
  const { port } = server.address
  const free = await freePortRange(1)
  const [silent, rude] = [await portOf(test, () => {}), await portOf(test, (socket) => socket.destroy())]
  const at = (security: typeof tls): RpcTarget => ({ host, port, tls: () => security })
  const troubles: readonly (readonly [RpcTarget, string])[] = [
    [{ host, port: free }, `connect ECONNREFUSED 127.0.0.1:${free}`],
    [{ socket: '/tmp/nobody.sock' }, 'connect ENOENT /tmp/nobody.sock'],
    [{ host: 'nobody.invalid', port: free }, 'the name nobody.invalid leads to no address'],
    [{ host, port: silent }, `no answer from 127.0.0.1:${silent} within N s`],
    [{ host, port: rude }, `127.0.0.1:${rude} ends the connection before it is ready`],
    [{ host, port }, `127.0.0.1:${port} ends the connection before it is ready`],
    [at({ ...strange, ca: authority.certificate }), `127.0.0.1:${port} ends the connection before it is ready`],
    [at({ ...tls, ca: other.certificate }), 'self-signed certificate in certificate chain'],
    [at({ ...tls, allowed: () => false }), 'the server is qmq://mail.example.com/tier/queue/01'],
    [{ host, port, tls: () => 'cert.pem has expired' }, 'cert.pem has expired'],
  ]
  const found = await Promise.all(troubles.map(([target]) => whyOf(test, target)))
  assert.deepEqual(
    found.map((why) => why.replace(/\d+\.\d s$/, 'N s')),
    troubles.map(([, why]) => why),
  )
})

it('what a peer itself says is left as it is', () => {
  for (const why of ['this caller is viewer', 'Deadline', '', 'No connection established']) {
    assert.equal(plainReason(why, 'somewhere'), why)
  }
})
