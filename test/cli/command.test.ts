/** The command as its users meet it: usage, wrong files, an old Node. Each run is a process of its own. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { run } from '../support/child.ts'
import { clusterConf, clusterPorts } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')

function qmq(...words: string[]): ReturnType<typeof run> {
  return run(process.execPath, [program, ...words])
}

describe('usage', () => {
  it('help and version are exit code 0, on standard output', async () => {
    const help = await qmq('help')
    assert.equal(help.code, 0)
    const verbs = [
      'up',
      'run',
      'status',
      'top',
      'send',
      'scale',
      'drain',
      'cordon',
      'uncordon',
      'plan',
      'queue',
      'trace',
    ]
    for (const verb of [...verbs, 'audit', 'check', 'drill', 'context', 'ca', 'completion', 'version']) {
      assert.match(help.stdout, new RegExp(`^  ${verb} `, 'm'))
    }
    const version = await qmq('version', '-o', 'json')
    assert.equal(version.code, 0)
    const { version: packaged } = JSON.parse(fs.readFileSync(path.join(program, '../../../package.json'), 'utf8'))
    const wanted = { qmq: packaged, node: process.versions.node, coordination: 1, layout: 2, ledger: 1 }
    assert.deepEqual(JSON.parse(version.stdout), wanted)
    assert.equal((await qmq('up', '--help')).code, 0)
  })

  it('what is no command is exit code 2, on standard error', async () => {
    for (const words of [
      [],
      ['bogus'],
      ['queue'],
      ['up', '--bogus'],
      ['trace'],
      ['audit', 'bogus'],
      ['scale'],
      ['completion', 'tcsh'],
      ['status', '-o', 'xml'],
    ]) {
      const { code, stdout, stderr } = await qmq(...words)
      assert.equal(code, 2, words.join(' '))
      assert.equal(stdout, '')
      assert.notEqual(stderr, '')
    }
  })

  it('a state without a cluster is said so', async (t) => {
    const state = path.join(temporaryDirectory(t), 'state')
    for (const verb of [['status'], ['audit'], ['queue', 'ls'], ['trace', '01M83RR83BV0FRYXJK5GXCM4KZ'], ['send']]) {
      const { code, stderr } = await qmq(...verb, '--state', state)
      assert.equal(code, 1, verb.join(' '))
      assert.match(stderr, /no cluster in .*state: layout.json is not there/)
    }
    assert.ok(!fs.existsSync(state), 'looking makes nothing')
  })
})

describe('a wrong conf-qmq', () => {
  it('ends with 2, naming file, line and remedy of every problem, and makes nothing', async (t) => {
    const directory = temporaryDirectory(t)
    const conf = path.join(directory, 'conf-qmq')
    const state = path.join(directory, 'state')
    const text = clusterConf(await clusterPorts(), { deliver: 'hold' })
    fs.writeFileSync(conf, text.replace('deliver: "hold" }', 'deliver: "hold", lifetime: 1440, slaa: 60s }'))
    const line = text.split('\n').findIndex((candidate) => candidate.includes('deliver: "hold" }')) + 1
    for (const verb of ['up', 'check']) {
      const { code, stdout, stderr } = await qmq(verb, '--conf', conf, '--state', state)
      assert.equal(code, 2, verb)
      const said = stdout + stderr
      assert.match(said, new RegExp(`conf-qmq:${line}:\\d+: pools.CUSTOMER_1.lifetime: 1440 .*write`))
      assert.match(said, new RegExp(`conf-qmq:${line}:\\d+: pools.CUSTOMER_1.*slaa.*sla`))
    }
    assert.ok(!fs.existsSync(state))
  })

  it('a file that says nothing is told in one line', async (t) => {
    const conf = path.join(temporaryDirectory(t), 'conf-qmq')
    for (const text of ['', '\n \n', '# version: 1\n  # nothing else\n']) {
      fs.writeFileSync(conf, text)
      const { code, stderr } = await qmq('up', '--conf', conf)
      assert.equal(code, 2)
      assert.equal(stderr, `${conf}: says nothing yet; start from the conf-qmq that comes with qmq\n`)
    }
  })

  it('a file that is not there is exit code 2 as well', async (t) => {
    const { code, stderr } = await qmq('up', '--conf', path.join(temporaryDirectory(t), 'none'), '--once')
    assert.equal(code, 2)
    assert.match(stderr, /none: cannot be read .*--conf/)
  })
})

describe('check', () => {
  it('says what is free, what is taken and by whom', async (t) => {
    const directory = temporaryDirectory(t)
    const conf = path.join(directory, 'conf-qmq')
    const ports = await clusterPorts()
    const { createServer } = await import('node:net')
    const server = createServer().listen(ports.smtp, '127.0.0.1')
    t.after(() => server.close())
    await new Promise((resolve) => server.once('listening', resolve))
    fs.writeFileSync(conf, clusterConf(ports, { deliver: 'smtp:127.0.0.1:2626' }))
    const where = ['--conf', conf, '--state', path.join(directory, 'state')]
    const taken = await qmq('check', '-o', 'json', ...where)
    assert.equal(taken.code, 1)
    const { ok, findings } = JSON.parse(taken.stdout)
    assert.equal(ok, false)
    const failed = findings.filter((finding: { verdict: string }) => finding.verdict === 'fail')
    assert.deepEqual(failed, [{ verdict: 'fail', what: 'port', detail: `e1 smtp 127.0.0.1:${ports.smtp}: EADDRINUSE` }])
    await new Promise((resolve) => server.close(resolve))
    const free = await qmq('check', ...where)
    assert.equal(free.code, 0, free.stdout)
    assert.match(free.stdout, new RegExp(`^ok +port +e1 smtp 127.0.0.1:${ports.smtp} is free`, 'm'))
  })
})

describe('an older Node', () => {
  it('is refused in one clear line, exit code 2', async (t) => {
    const text = fs.readFileSync(program, 'utf8')
    for (const [version, refused] of [
      ['12.22.12', true],
      ['20.20.2', true],
      ['22.18.0', true],
      ['22.19.0', false],
      ['24.0.0', false],
    ] as const) {
      const directory = temporaryDirectory(t)
      const claim = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })\n`
      fs.writeFileSync(path.join(directory, 'qmq.mjs'), claim + text.replace(/^#!.*\n/, ''))
      fs.writeFileSync(path.join(directory, 'main.ts'), "process.stdout.write('handed over')\n")
      const { code, stdout, stderr } = await run(process.execPath, [path.join(directory, 'qmq.mjs')])
      assert.equal(stdout, refused ? '' : 'handed over', version)
      assert.equal(code, refused ? 2 : 0)
      if (!refused) continue
      assert.equal(stderr.split('\n').length, 2)
      assert.match(stderr, new RegExp(`^qmq needs Node.js 22.19 or newer, this is ${version.replaceAll('.', '[.]')}`))
    }
  })

  it('that is really there is refused too', { skip: !olderNode() && 'no older Node on this machine' }, async () => {
    const { code, stdout, stderr } = await run(olderNode() ?? '', [program, 'up'])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^qmq needs Node[^\n]*\n$/)
  })
})

/** The system's own Node, where that is older than ours. */
function olderNode(): string | undefined {
  const [major = 0] = process.versions.node.split('.').map(Number)
  for (const file of ['/usr/bin/node', '/usr/local/bin/node']) {
    if (!fs.existsSync(file)) continue
    const header = fs.realpathSync(file)
    if (header !== process.execPath && major > 20) return file
  }
  return undefined
}
