/** `qmq version`: this software, the Node under it, and the versions of what its parts say to each other. */

import { coordinationVersion } from '../../contract/coordination.ts'
import { layoutVersion } from '../../contract/layout.ts'
import { ledgerVersion } from '../../contract/ledger.ts'
import { softwareVersion } from '../software.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const versionVerb: Verb = { name: 'version', summary: 'show versions', placeless: true, run: version }

async function version(context: Context): Promise<ExitCode> {
  const versions = {
    ...{ qmq: softwareVersion(), node: process.versions.node },
    ...{ coordination: coordinationVersion, layout: layoutVersion, ledger: ledgerVersion },
  }
  const text = Object.entries(versions).map(([name, value]) => `${name} ${value}`)
  context.print(context.output === 'json' ? JSON.stringify(versions) : text.join('\n'))
  return 0
}
