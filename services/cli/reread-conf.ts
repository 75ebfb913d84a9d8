/**
 * SIGHUP: conf-qmq read again, and put in force without a restart where the running processes can take all of it. A file
 * that is wrong, or that needs a restart, changes nothing at all; what is said says why.
 */

import type { WriteResult } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import type { Conf } from '../settings/conf.ts'
import type { ClusterLink } from './cluster-link.ts'
import type { ClusterTree } from './cluster-tree.ts'
import { restartReasons } from './layout-change.ts'
import { planState, readConfFile } from './prepare-state.ts'
import type { Context } from './verb.ts'

/** Orders that came in between before a file that is read again gives up. */
const attemptsMax = 5

/** Never rejects. The caller holds the state's lock. */
export async function rereadConf(context: Context, tree: ClusterTree, link: ClusterLink | undefined): Promise<void> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') {
    for (const problem of file.problems) context.complain(problem)
    context.complain(`${context.confFile} is wrong: the cluster goes on with epoch ${tree.layout.epoch}`)
    return
  }
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) if (await put(context, tree, link, file.conf)) return
    context.complain(
      `the layout was changed by others meanwhile: send SIGHUP again; epoch ${tree.layout.epoch} is in force`,
    )
  } catch (error) {
    context.complain(`the cluster goes on with epoch ${tree.layout.epoch}: ${errorText(error)}`)
  }
}

/** False where a leader changed the layout meanwhile. */
async function put(context: Context, tree: ClusterTree, link: ClusterLink | undefined, conf: Conf): Promise<boolean> {
  const now = tree.layout
  const { layout } = await planState(context, conf, now)
  if (layout.epoch === now.epoch) {
    context.complain(`${context.confFile} says what is in force already, epoch ${now.epoch}`)
    return true
  }
  const reasons = restartReasons(now, layout)
  if (reasons.length > 0) {
    context.complain(`nothing is changed before \`qmq up\` is started again: ${reasons.join('; ')}`)
    return true
  }
  const offered = link === undefined ? await tree.propose(layout) : await offer(tree, link, layout)
  if (offered === 'conflict') return false
  if (offered === 'unreachable') {
    context.complain(`nothing is changed, the cluster goes on with epoch ${now.epoch}: coordination cannot be reached`)
    return true
  }
  context.complain(`${context.confFile} is read again: epoch ${layout.epoch} is in force`)
  return true
}

/** To all hosts first, then here. A conflict is followed, so that the next attempt is made of what is in force. */
async function offer(tree: ClusterTree, link: ClusterLink, layout: Layout): Promise<WriteResult['kind']> {
  const offered = await link.offer(layout)
  if (offered.kind === 'written') await tree.take(layout)
  if (offered.kind === 'conflict') await link.settle()
  return offered.kind
}
