/**
 * A directory that goes when its test ends. `QMQ_TEST_DIR` names its parent, for a test on another file system.
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Cleanup {
  after(task: () => void | Promise<void>): void
}

export function temporaryDirectory(test: Cleanup, name = 'qmq'): string {
  const directory = makeTemporaryDirectory(name)
  test.after(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  return directory
}

/** For programs that clean up themselves. Other users may read it: mail servers drop their privileges. */
export function makeTemporaryDirectory(name = 'qmq', under?: string): string {
  const { QMQ_TEST_DIR: parent } = process.env
  const directory = mkdtempSync(join(under ?? parent ?? tmpdir(), `${name}-`))
  chmodSync(directory, 0o755)
  return directory
}
