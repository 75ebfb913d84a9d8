/**
 * A directory that goes after its test. `QMQ_TEST_DIR` names its parent, for a test on another file system.
 *
 * Clean-up runs in the order of registration, so the directory would vanish under servers that are stopped later: it is
 * removed when the process of the test file ends.
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Cleanup {
  after(task: () => void | Promise<void>): void
}

const finished = new Set<string>()

function removeFinished(): void {
  for (const directory of finished) rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}

export function temporaryDirectory(test: Cleanup, name = 'qmq'): string {
  const directory = makeTemporaryDirectory(name)
  test.after(() => {
    if (finished.size === 0) process.once('exit', removeFinished)
    finished.add(directory)
  })
  return directory
}

/** For programs that clean up themselves. Other users may read it: mail servers drop their privileges. */
export function makeTemporaryDirectory(name = 'qmq', under?: string): string {
  const { QMQ_TEST_DIR: parent } = process.env
  const directory = mkdtempSync(join(under ?? parent ?? tmpdir(), `${name}-`))
  chmodSync(directory, 0o755)
  return directory
}
