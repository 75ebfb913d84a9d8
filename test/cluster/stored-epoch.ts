/** What a nats-server's files say of the layout, without asking a server: which epoch they would come back with. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The highest epoch of a layout that was stored; 0 where there is none. */
export function storedEpoch(storeDirectory: string): number {
  if (!existsSync(storeDirectory)) return 0
  const names = readdirSync(storeDirectory, { recursive: true, encoding: 'utf8' })
  const blocks = names.filter((name) => /KV_qmq-records\/msgs\/\d+\.blk$/.test(name))
  const texts = blocks.map((name) => readFileSync(join(storeDirectory, name), 'latin1'))
  const epochs = texts.flatMap((text) => [...text.matchAll(/\\"epoch\\":(\d+)/g)].map(([, epoch]) => Number(epoch)))
  return Math.max(0, ...epochs)
}
