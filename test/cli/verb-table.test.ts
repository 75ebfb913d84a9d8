/** Which verbs are loaded for a command line, and what loading them costs: no package that the command does not need. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { planState, writeState } from '../../services/cli/prepare-state.ts'
import { allVerbs, verbsFor } from '../../services/cli/verb-table.ts'
import { run } from '../support/child.ts'
import { clusterConf } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { confOf, contextIn } from './command-context.ts'

const services = path.join(import.meta.dirname, '../../services')
const program = path.join(services, 'cli/qmq.js')

async function namesFor(...argv: string[]): Promise<readonly string[]> {
  return (await verbsFor(argv)).map(({ name }) => name)
}

describe('the table of verbs', { concurrency: true }, () => {
  it('finds every verb of every file by its first word', async () => {
    const all = await allVerbs()
    const files = fs.readdirSync(path.join(services, 'cli/verbs'))
    const found = new Set<string>()
    for (const { name } of all) {
      const names = await namesFor(...name.split(' '))
      assert.ok(names.includes(name), name)
      assert.ok(names.length < all.length, `${name} takes all of them`)
    }
    const table = fs.readFileSync(path.join(services, 'cli/verb-table.ts'), 'utf8')
    for (const [, file] of table.matchAll(/import\('\.\/verbs\/(.*?)'\)/g)) found.add(file ?? '')
    assert.deepEqual([...found].sort(), files.sort())
    assert.equal(new Set(all.map(({ name }) => name)).size, all.length)
  })

  it('looks past what stands before the verb, and takes all where it cannot tell', async () => {
    const all = (await allVerbs()).length
    assert.deepEqual(await namesFor('--conf', 'x', '-o', 'json', 'top', '--once'), ['top'])
    assert.deepEqual(await namesFor('--context', 'up', 'status'), ['up', 'status'])
    assert.deepEqual(await namesFor('audit', 'orders'), ['audit', 'audit verify', 'audit orders'])
    assert.deepEqual(await namesFor('--version'), [])
    for (const argv of [[], ['statsu'], ['help', 'scale'], ['scale', '--help'], ['-h']]) {
      assert.equal((await namesFor(...argv)).length, all, argv.join(' '))
    }
  })
})

/** The packages that a command loads, by name. */
async function packagesOf(directory: string, words: readonly string[]): Promise<ReadonlySet<string>> {
  const watcher = path.join(directory, 'watcher.mjs')
  fs.writeFileSync(
    watcher,
    `import fs from 'node:fs'
    import { registerHooks } from 'node:module'
    registerHooks({
      load(url, context, next) {
        const [, name] = /.*node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url) ?? []
        if (name !== undefined) fs.appendFileSync(${JSON.stringify(path.join(directory, 'loaded'))}, name + '\\n')
        return next(url, context)
      },
    })`,
  )
  fs.writeFileSync(path.join(directory, 'loaded'), '')
  await run(process.execPath, ['--import', watcher, program, ...words], { env: { ...process.env, HOME: directory } })
  return new Set(fs.readFileSync(path.join(directory, 'loaded'), 'utf8').split('\n').filter(Boolean))
}

it('a command loads no package that it does not need', async (t) => {
  const directory = temporaryDirectory(t)
  for (const words of [['--version'], ['version']]) {
    assert.deepEqual([...(await packagesOf(directory, words))], ['commander'], words.join(' '))
  }
  const context = contextIn(path.join(directory, 'state'))
  const ports = { smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }
  await writeState(context, await planState(context, confOf(clusterConf(ports, { deliver: 'hold' }))))
  for (const words of [['status'], ['top', '--once']]) {
    const packages = await packagesOf(directory, [...words, '--state', context.state])
    for (const heavy of ['@grpc/grpc-js', 'nats', 'ioredis', 'yaml', 'pino']) {
      assert.ok(!packages.has(heavy), `${words[0]} loads ${heavy}`)
    }
    assert.ok(packages.has('zod'), 'it reads the layout')
  }
})
