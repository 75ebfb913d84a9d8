/** The audit log of orders: durable, in order, and no line of it can be touched unseen. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { readChained, verifyChain } from '../../../services/control/order-log/order-chain.ts'
import { type NewEntry, OrderLog, orderLogName } from '../../../services/control/order-log/order-log.ts'
import { silentLog } from '../../../services/runtime/silent-log.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import type { Disk, Log, LogFields } from '../../../services/runtime/world.ts'
import { failingWrites } from '../../support/failing-writes.ts'
import { type Cleanup, temporaryDirectory } from '../../support/temporary-directory.ts'

const { clock, disk } = systemWorld(silentLog)

function entryOf(text: string): NewEntry {
  const words = { who: 'alice (operator)', role: 'operator', requestId: 'r', method: '/m', result: '' }
  return { kind: 'order', of: 0, ...words, arguments: JSON.stringify({ text }), reason: 'because "x"\u2028' }
}

async function openIn(test: Cleanup, home: string, log: Log = silentLog, on: Disk = disk): Promise<OrderLog> {
  const orders = await OrderLog.open({ disk: on, clock, log }, home)
  test.after(() => orders.close().catch(() => {}))
  return orders
}

async function written(test: Cleanup, count: number): Promise<{ home: string; file: string }> {
  const home = temporaryDirectory(test, 'orders')
  const orders = await openIn(test, home)
  // At once: they must still be in order.
  await Promise.all(Array.from({ length: count }, (_, index) => orders.append(entryOf(`order ${index}`))))
  return { home, file: path.join(home, orderLogName) }
}

describe('the log of orders', () => {
  it('keeps entries in the order they came, over a restart', async (test) => {
    const { home, file } = await written(test, 3)
    const again = await openIn(test, home)
    assert.equal(await again.append(entryOf('order 3')), 4)
    const entries = await again.read(2, 2)
    assert.deepEqual(
      entries.map(({ number, arguments: given }) => [number, given]),
      [
        [2, '{"text":"order 1"}'],
        [3, '{"text":"order 2"}'],
      ],
    )
    assert.deepEqual(
      (await again.read(0, 1)).map(({ number }) => number),
      [4],
    )
    const verdict = await again.verify()
    assert.deepEqual(verdict, verifyChain(fs.readFileSync(file, 'utf8')))
    assert.equal(verdict.intact, true)
    assert.equal(verdict.lines, 4)
  })

  it('names the first line that was changed, taken out, put in or moved', async (test) => {
    const { file } = await written(test, 6)
    const lines = fs.readFileSync(file, 'utf8').split('\n').slice(0, -1)
    const broken = (changed: readonly string[]): number => verifyChain(`${changed.join('\n')}\n`).brokenLine
    for (let at = 0; at < 6; at++) {
      const with_ = (line: string) => lines.map((own, index) => (index === at ? line : own))
      assert.equal(broken(with_((lines[at] ?? '').replace('alice', 'mallory'))), at + 1, `changed ${at}`)
      assert.equal(broken(with_(`${lines[at]} `)), at + 1, `a blank more in ${at}`)
      assert.equal(broken(with_('{}')), at + 1, `another in place of ${at}`)
      assert.equal(broken(lines.toSpliced(at, 0, lines[at] ?? '')) > 0, true, `twice ${at}`)
      if (at < 5) assert.equal(broken(lines.toSpliced(at, 1)), at + 1, `without ${at}`)
    }
    assert.equal(broken(lines), 0)
    assert.equal(readChained('null'), undefined)
  })

  it('cuts a torn last line, says so, and goes on', async (test) => {
    const { home, file } = await written(test, 2)
    const whole = fs.readFileSync(file)
    for (const torn of ['{"number":3,"at":17', '\0\0\0\0']) {
      fs.writeFileSync(file, Buffer.concat([whole, Buffer.from(torn)]))
      const warned: LogFields[] = []
      const log = { ...silentLog, warn: (_event: string, fields?: LogFields) => warned.push(fields ?? {}) }
      const orders = await openIn(test, home, log)
      assert.deepEqual(warned, [{ file, bytes: torn.length }])
      assert.deepEqual(fs.readFileSync(file), whole)
      assert.equal(await orders.append(entryOf('after')), 3)
      assert.equal((await orders.verify()).intact, true)
    }
  })

  it('says at the start that it is broken, takes orders all the same, and goes on naming the line', async (test) => {
    const { home, file } = await written(test, 3)
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('order 1', 'order 9'))
    const said: LogFields[] = []
    const log = { ...silentLog, error: (_event: string, fields?: LogFields) => said.push(fields ?? {}) }
    const orders = await openIn(test, home, log)
    assert.equal(said[0]?.['line'], 2)
    await orders.append(entryOf('order 3'))
    const { brokenLine, lines } = await orders.verify()
    assert.deepEqual({ brokenLine, lines }, { brokenLine: 2, lines: 4 })
  })

  it('takes no order after a write that failed', async (test) => {
    const home = temporaryDirectory(test, 'orders')
    let failing = false
    const faulty = failingWrites(disk, () => (failing ? 'EIO' : undefined))
    const orders = await openIn(test, home, silentLog, faulty)
    await orders.append(entryOf('order 0'))
    failing = true
    await assert.rejects(orders.append(entryOf('order 1')), /could not be written: EIO/)
    failing = false
    await assert.rejects(orders.append(entryOf('order 2')), /start this instance anew/)
    assert.equal((await orders.verify()).lines, 1)
  })
})
