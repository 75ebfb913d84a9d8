/**
 * A cluster whose processes prove themselves to one another on loopback too (`tier-tls: always`): its pools change size over mutual TLS,
 * and people elsewhere reach its control port with certificates of `qmq ca issue`, and with nothing else.
 */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { tierIdentity, writeIdentity } from '../../services/contract/identity.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import { type Finished, run } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { freePortRange } from '../support/free-ports.ts'
import { MailClient } from '../support/mail-client.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { TestAuthority, writeCredentials } from '../support/test-authority.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')
const messagesAtOnce = 8

interface Scaled {
  readonly messages: number
  readonly receipt: string
  readonly verified: boolean
  readonly balanced: boolean
}

interface OrderLine {
  readonly kind: string
  readonly who: string
  readonly role: string
  readonly method: string
}

/** Somebody who has nothing of the cluster but what is in his own directory. */
class Elsewhere {
  readonly directory: string
  readonly #controlPort: number

  constructor(t: TestContext, controlPort: number) {
    this.directory = temporaryDirectory(t, 'elsewhere')
    this.#controlPort = controlPort
  }

  async qmq(...words: string[]): Promise<Finished> {
    const env = { ...process.env, XDG_CONFIG_HOME: this.directory }
    return await run(process.execPath, [program, ...words], { cwd: this.directory, env })
  }

  /** With the files of a directory `name` in ours. */
  async addContext(name: string): Promise<void> {
    const files = ['ca', 'cert', 'key'].flatMap((kind) => [`--${kind}`, path.join(name, `${kind}.pem`)])
    const { code, stderr } = await this.qmq(
      'context',
      'add',
      name,
      '--address',
      `127.0.0.1:${this.#controlPort}`,
      ...files,
    )
    assert.equal(code, 0, stderr)
  }
}

async function until<Value>(what: string, look: () => Promise<Value | undefined>): Promise<Value> {
  const deadline = performance.now() + 60_000
  while (performance.now() < deadline) {
    const found = await look()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`${what} did not come about`)
}

/** The serial number of what a port shows to who shows the files of `directory`; '' where it does not get so far. */
function serialAt(port: number, directory: string): Promise<string> {
  const [cert = '', key = ''] = ['cert', 'key'].map((kind) => fs.readFileSync(path.join(directory, `${kind}.pem`)))
  return new Promise((resolve) => {
    const shown = { cert, key, ALPNProtocols: ['h2'], rejectUnauthorized: false }
    const socket = tls.connect({ host: '127.0.0.1', port, ...shown }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? '')
      socket.destroy()
    })
    socket.on('error', () => resolve(''))
  })
}

/** Whether a port shows the certificate of this directory, to who shows that of another. */
async function isShown(port: number, directory: string, asking = directory): Promise<boolean> {
  const certificate = new X509Certificate(fs.readFileSync(path.join(directory, 'cert.pem')))
  return (await serialAt(port, asking)) === certificate.serialNumber
}

/** Whether a control port says anything to who shows no certificate. */
function answersAnybody(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port, ALPNProtocols: ['h2'], rejectUnauthorized: false })
    socket.once('data', () => {
      resolve(true)
      socket.destroy()
    })
    socket.on('error', () => resolve(false))
    socket.on('close', () => resolve(false))
  })
}

interface Listed {
  readonly instance: string
  readonly recipients: readonly { readonly attempts: number }[]
}

/** How many messages an instance holds; 0 where it has left. */
async function heldBy(cluster: Cluster, id: string): Promise<number> {
  const { answer } = await cluster.ask(['queue', 'ls', id])
  return (answer as readonly Listed[] | undefined)?.length ?? 0
}

/** Sends until each of these holds mail that it tried to deliver and put off. Gives how many were sent. */
async function sendToAll(cluster: Cluster, ids: readonly string[]): Promise<number> {
  const client = await MailClient.connect(cluster.ready?.listeners.find(({ kind }) => kind === 'smtp')?.port ?? 0)
  let sent = 0
  await until('mail that was put off', async () => {
    for (let number = 0; number < messagesAtOnce; number++, sent++) {
      const data = Buffer.from(`Subject: ${sent}\r\n\r\nletter ${sent}\r\n`)
      const mail = { sender: 'a@elsewhere.example', recipients: [`box${sent}@customer1.example`], data }
      assert.equal((await client.send(mail)).code, 250)
    }
    const { answer } = await cluster.ask(['queue', 'ls', ...ids])
    const tried = (answer as readonly Listed[]).filter(({ recipients }) =>
      recipients.some(({ attempts }) => attempts > 0),
    )
    return ids.every((id) => tried.some(({ instance }) => instance === id)) || undefined
  })
  await client.quit()
  return sent
}

test('a control process opens its port once it has a certificate, and once nobody else has the port', async (t) => {
  const ports = await clusterPorts()
  const cluster = new Cluster(temporaryDirectory(t), clusterConf(ports, { deliver: 'hold' }))
  t.after(() => cluster.stop())
  await cluster.untilReady()
  const port = ports.base + 200
  const squatter = net.createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => squatter.listen(port, '127.0.0.1', resolve))
  t.after(() => squatter.close())
  for (const words of [
    ['init'],
    ['issue', 'c1'],
    ['issue', '--role', 'viewer', '--name', 'vera', '--out', path.join(cluster.state, 'vera')],
  ]) {
    const { code, stderr } = await cluster.qmq(['ca', ...words])
    assert.equal(code, 0, stderr)
  }
  const [own, person] = [path.join(cluster.state, 'tls/c1'), path.join(cluster.state, 'vera')]
  const control = async () => {
    const { answer } = await cluster.ask(['status'])
    const { instances } = answer as { readonly instances: readonly InstanceState[] }
    return instances.find(({ id }) => id === 'c1')
  }
  const trouble = await until('word of the port', async () => (await control())?.why)
  assert.match(trouble, new RegExp(`operators elsewhere are not served: .*${port}`))
  await new Promise((resolve) => squatter.close(resolve))
  await until('the certificate at the port', async () => (await isShown(port, own, person)) || undefined)
  await until('no word of it any more', async () => (await control())?.phase === 'ready' || undefined)
})

test('people elsewhere see and order what their certificates say, and pools change size over mutual TLS', async (t) => {
  const [ports, nextHop] = [await clusterPorts(), await freePortRange(1)]
  const conf = clusterConf(ports, {
    deliver: `smtp:127.0.0.1:${nextHop}`,
    customerInstances: 1,
    handoff: { 'unclear-retry': '500ms' },
  })
  const cluster = new Cluster(temporaryDirectory(t), `tier-tls: always\n${conf}`)
  t.after(() => cluster.stop())
  await cluster.untilReady()
  const tlsOf = (id: string): string => path.join(cluster.state, 'tls', id)
  const [controlPort, otherAuthority] = [ports.base + 200, await TestAuthority.make(t)]
  const elsewhere = new Elsewhere(t, controlPort)
  for (const [name, role] of Object.entries({ vera: 'viewer', olga: 'operator' })) {
    const out = path.join(elsewhere.directory, name)
    const { code, stderr } = await cluster.qmq(['ca', 'issue', '--role', role, '--name', name, '--out', out])
    assert.equal(code, 0, stderr)
    await elsewhere.addContext(name)
  }

  await t.test('a viewer sees and does not order; who has no certificate of the cluster does neither', async () => {
    const seen = await elsewhere.qmq('status', '-o', 'json', '--context', 'vera')
    assert.equal(seen.code, 0, seen.stderr)
    assert.equal(JSON.parse(seen.stdout).cluster, 'mail.example.com')
    const refused = await elsewhere.qmq('scale', 'CUSTOMER_1=3', '--context', 'vera')
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /takes the role operator; this caller is viewer/)
    const admin = writeIdentity({ kind: 'role', cluster: 'mail.example.com', role: 'admin' })
    const authority = fs.readFileSync(path.join(elsewhere.directory, 'vera/ca.pem'))
    const forged = await otherAuthority.issue([admin], { use: 'person' })
    writeCredentials(path.join(elsewhere.directory, 'forged'), authority, forged)
    await elsewhere.addContext('forged')
    assert.equal((await elsewhere.qmq('status', '--context', 'forged')).code, 1)
    assert.equal(await answersAnybody(controlPort), false)
    assert.notEqual(await serialAt(controlPort, path.join(elsewhere.directory, 'vera')), '')
  })

  await t.test('an operator scales; what was put off moves to who proves who he is, and to nobody else', async () => {
    const grown = await elsewhere.qmq('scale', 'CUSTOMER_1=3', '--context', 'olga', '--reason', 'much mail')
    assert.equal(grown.code, 0, grown.stderr)
    const sent = await sendToAll(cluster, ['02', '03'])
    const [own, held] = [path.join(elsewhere.directory, 'own-03'), await heldBy(cluster, '03')]
    fs.cpSync(tlsOf('03'), own, { recursive: true })
    const name = writeIdentity(tierIdentity('mail.example.com', 'queue', '03'))
    writeCredentials(tlsOf('03'), otherAuthority.certificate, await otherAuthority.issue([name]))
    await until(
      'a certificate of another authority',
      async () => (await isShown(ports.base + 3, tlsOf('03'))) || undefined,
    )
    const words = ['scale', 'CUSTOMER_1=1', '--context', 'olga', '--reason', 'little mail', '-o', 'json']
    const shrinking = elsewhere.qmq(...words)
    await until('the mail of 02 at 01', async () => (await heldBy(cluster, '02')) === 0 || undefined)
    assert.equal(await heldBy(cluster, '03'), held, 'it moved to somebody who could not know whose it is')
    fs.cpSync(own, tlsOf('03'), { recursive: true })
    const { code, stdout, stderr } = await shrinking
    assert.equal(code, 0, stderr)
    const outcome = JSON.parse(stdout) as Scaled
    assert.deepEqual([outcome.verified, outcome.balanced], [true, true])
    assert.ok(outcome.messages > held, 'that of 02 and of 03')
    assert.equal(await heldBy(cluster, '01'), sent)
    const { finished, answer } = await cluster.ask(['audit'])
    assert.equal(finished.code, 0, JSON.stringify(answer))
  })

  await t.test(
    'the control port shows a renewed certificate, and the log of orders says whose orders they were',
    async () => {
      assert.equal((await cluster.qmq(['ca', 'issue', 'c1', '--again'])).code, 0)
      const vera = path.join(elsewhere.directory, 'vera')
      await until('the new certificate', async () => (await isShown(controlPort, tlsOf('c1'), vera)) || undefined)
      assert.equal((await elsewhere.qmq('status', '--context', 'vera')).code, 0)
      const { answer } = await cluster.ask(['audit', 'orders'])
      const [{ entries }] = answer as [{ entries: readonly OrderLine[] }]
      const orders = entries.filter(({ kind }) => kind === 'order')
      assert.deepEqual(
        orders.map(({ who, role, method }) => [who, role, method.split('/').at(-1)]),
        [
          ['olga (operator)', 'operator', 'Scale'],
          ['olga (operator)', 'operator', 'Scale'],
        ],
      )
    },
  )
})
