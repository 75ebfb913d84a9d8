/** The terminal of the person who runs the command; none where standard output or input is not one. */

import process from 'node:process'
import readline from 'node:readline/promises'
import type { Terminal } from './verb.ts'

export function userTerminal(): Terminal | undefined {
  const { stdin, stdout } = process
  if (!stdin.isTTY || !stdout.isTTY) return undefined
  return {
    get columns() {
      return stdout.columns
    },
    get rows() {
      return stdout.rows
    },
    write: (text) => {
      stdout.write(text)
    },
    ask: async (question) => {
      const asking = readline.createInterface({ input: stdin, output: stdout })
      try {
        return await asking.question(question)
      } catch {
        return ''
      } finally {
        asking.close()
      }
    },
  }
}
