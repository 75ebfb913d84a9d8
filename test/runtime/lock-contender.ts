/**
 * A process that wants a home: holds it until it is killed, or takes and leaves it for a second and fails where another one
 * holds it at the same time. Prints `held`, or how often it held it.
 */

import fs from 'node:fs'
import path from 'node:path'
import { lockHome } from '../../services/runtime/home-lock.ts'

const [home = '', mode] = process.argv.slice(2)

if (mode === 'hold') {
  const lock = lockHome(home)
  process.stdout.write(`${lock.kind}\n`)
  setInterval(() => {}, 1000)
} else {
  let held = 0
  const deadline = performance.now() + 1000
  while (performance.now() < deadline) {
    const lock = lockHome(home)
    if (lock.kind === 'held') {
      held++
      const witness = path.join(home, 'witness')
      fs.writeFileSync(witness, String(process.pid), { flag: 'wx' })
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 3))
      fs.rmSync(witness)
      lock.release()
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
  }
  process.stdout.write(String(held))
}
