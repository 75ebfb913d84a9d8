/** `qmq nats keys` and `qmq nats config`: what they make, keep and print, and that both servers take it; then a cluster on it over TLS. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { isWell, untilStatus } from '../cluster/status.ts'
import { certificate } from '../support/certificate.ts'
import { run } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { NatsServer, natsPrograms } from '../support/nats-server.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')
const ports = { smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }

function place(directory: string, coordination: string | undefined): (...words: string[]) => ReturnType<typeof run> {
  const conf = clusterConf(ports, { deliver: 'hold', ...(coordination === undefined ? {} : { coordination }) })
  fs.writeFileSync(path.join(directory, 'conf-qmq'), conf)
  return (...words) => run(process.execPath, [program, 'nats', ...words, '--conf', path.join(directory, 'conf-qmq')])
}

/** Its own authority. */
function makeServerCertificate(t: Cleanup, directory: string): void {
  const made = certificate(t, 'IP:127.0.0.1')
  for (const name of ['server.pem', 'ca.pem']) fs.writeFileSync(path.join(directory, name), made.certificate)
  fs.writeFileSync(path.join(directory, 'server.key'), made.key)
}

describe('qmq nats', () => {
  it('keys are made once, for every id a pool may run, readable by nobody else; nothing tells a seed', async (t) => {
    const directory = temporaryDirectory(t)
    const nats = place(directory, 'nats://127.0.0.1:4222')
    const early = await nats('config')
    assert.equal(early.code, 1)
    assert.match(early.stderr, /keys\/nats\/e1\.nk is not there: run `qmq nats keys` first/)
    const first = await nats('keys')
    assert.equal(first.code, 0, first.stderr)
    const keys = path.join(directory, 'state/keys/nats')
    const names = fs.readdirSync(keys)
    const pool = ['01', '02', '03', '04', '05', '06', '07', '08', '09']
    const wanted = ['00', ...pool, '80', '90', '99', 'c1', 'e1', 'operator', 'up', 'viewer']
    assert.deepEqual(names.toSorted(), wanted.map((name) => `${name}.nk`).toSorted())
    assert.ok(names.every((name) => (fs.statSync(path.join(keys, name)).mode & 0o777) === 0o600))
    const seeds = new Map(names.map((name) => [name, fs.readFileSync(path.join(keys, name), 'utf8').trim()]))
    const again = await nats('keys', '-o', 'json')
    const { keys: listed } = JSON.parse(again.stdout) as { keys: { made: boolean; publicKey: string }[] }
    assert.ok(listed.every(({ made, publicKey }) => !made && /^U[A-Z2-7]{55}$/.test(publicKey)))
    for (const [name, seed] of seeds) assert.equal(fs.readFileSync(path.join(keys, name), 'utf8').trim(), seed)
    const { stdout } = await nats('config')
    for (const seed of seeds.values()) {
      for (const text of [first.stdout, again.stdout, stdout]) assert.equal(text.includes(seed), false)
    }
    fs.writeFileSync(path.join(keys, '00.nk'), 'SUNOTASEED')
    const broken = await nats('keys')
    assert.equal(broken.code, 1)
    assert.match(broken.stderr, /00\.nk is no seed of an nkey/)
    assert.doesNotMatch(broken.stderr, /SUNOTASEED/)
  })

  it('wrong usage is exit code 2 and says what is meant', async (t) => {
    const directory = temporaryDirectory(t)
    const embedded = place(directory, undefined)
    assert.match((await embedded('keys')).stderr, /names no servers: write coordination: nats:/)
    const nats = place(directory, '"nats://127.0.0.1:4222,127.0.0.1:4223"')
    await nats('keys')
    const rows: [string[], RegExp][] = [
      [['--cluster-of', '3'], /names 2 of 3 servers/],
      [['--cluster-of', 'x'], /a number from 2 to 9/],
      [['--cluster-of', '2', '--node', '3'], /a number from 1 to 2/],
      [['--node', '0'], /a number from 1 to 2/],
    ]
    for (const [words, why] of rows) {
      const { code, stderr, stdout } = await nats('config', ...words)
      assert.equal(code, 2)
      assert.match(stderr, why)
      assert.equal(stdout, '')
    }
  })

  it('each form of the configuration is one that both servers take', async (t) => {
    const directory = temporaryDirectory(t)
    const nats = place(directory, '"nats://127.0.0.1:4222,nats.example.com:4223,[::1]:4224"')
    await nats('keys')
    makeServerCertificate(t, directory)
    const file = path.join(directory, 'nats.conf')
    const store = ['--store', path.join(directory, 'jetstream')]
    for (const words of [
      [],
      ['--tls', directory],
      ['--cluster-of', '3'],
      ['--cluster-of', '3', '--node', '2', '--tls', directory],
      ['--sync-always'],
    ]) {
      const printed = await nats('config', ...words, ...store)
      assert.equal(printed.code, 0, printed.stderr)
      fs.writeFileSync(file, printed.stdout)
      // Debian's does not know it.
      const programs = words.includes('--sync-always') ? natsPrograms().slice(1) : natsPrograms()
      for (const { name, path: server } of programs) {
        const checked = await run(server, ['-t', '-c', file])
        assert.equal(checked.code, 0, `${name} ${words.join(' ')}: ${checked.stderr}`)
      }
    }
    assert.match((await nats('config', '--sync-always')).stdout, /^jetstream \{.* sync_interval: always \}$/m)
    const [one, two] = [
      await nats('config', '--cluster-of', '3'),
      await nats('config', '--cluster-of', '3', '--node', '2'),
    ]
    const password = /password: "([^"]+)"/.exec(one.stdout)?.[1]
    assert.equal(/password: "([^"]+)"/.exec(two.stdout)?.[1], password, 'all servers have the same')
    assert.match(two.stdout, /listen: "0\.0\.0\.0:4223"/)
    assert.match(two.stdout, /nats:\/\/qmq:[^@]+@\[::1\]:6224/)
  })

  for (const { name, path: server } of natsPrograms()) {
    it(`a cluster on keys and TLS, ${name}`, async (t) => {
      const directory = temporaryDirectory(t)
      const prepared = await NatsServer.prepare()
      t.after(() => prepared.remove())
      makeServerCertificate(t, directory)
      const ca = path.join(directory, 'ca.pem')
      const coordination = `{ servers: "tls://${prepared.address}", tls: { ca: "${ca}" } }`
      const conf = clusterConf(await clusterPorts(), { deliver: 'hold', coordination })
      fs.writeFileSync(path.join(directory, 'conf-qmq'), conf)
      const nats = (...words: string[]) =>
        run(process.execPath, [program, 'nats', ...words, '--conf', path.join(directory, 'conf-qmq')])
      await nats('keys')
      const printed = await nats('config', '--tls', directory, '--store', path.join(prepared.directory, 'jetstream'))
      const running = prepared.with({ whole: () => printed.stdout, program: server })
      t.after(() => running.remove())
      await running.start()
      const cluster = new Cluster(directory, conf)
      t.after(async () => {
        await cluster.stop()
      })
      await cluster.untilReady(120_000)
      await untilStatus(cluster, 'well', isWell)
      assert.doesNotMatch(cluster.child.stderr, /violation/i)
      // Whoever is not the server that the authority signed learns no key and carries nothing.
      fs.writeFileSync(path.join(directory, 'conf-qmq'), conf.replace(ca, path.join(directory, 'state/tls/cert.pem')))
      await cluster.stop()
      cluster.restart()
      await cluster.untilReady(120_000)
      const { finished } = await untilStatus(cluster, 'refused', (heard) => heard.finished.code === 3)
      assert.match(finished.stderr, /NATS cannot be reached.*(certificate|CERT|TLS|authorize)/i)
    })
  }
})
