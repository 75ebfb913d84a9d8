/**
 * SIGHUP: conf-qmq read again, and put in force without a restart where the running processes can take all of it. A file
 * that is wrong, or that needs a restart, changes nothing at all; what is said says why.
 */

import { errorText } from '../protocol/failure.ts'
import type { ClusterLink } from './cluster-link.ts'
import type { ClusterTree } from './cluster-tree.ts'
import { restartReasons } from './layout-change.ts'
import { planState, readConfFile, writeState } from './prepare-state.ts'
import type { Context } from './verb.ts'

/** Never rejects. The caller holds the state's lock. */
export async function rereadConf(context: Context, tree: ClusterTree, link: ClusterLink | undefined): Promise<void> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') {
    for (const problem of file.problems) context.complain(problem)
    context.complain(`${context.confFile} is wrong: the cluster goes on with epoch ${tree.layout.epoch}`)
    return
  }
  try {
    const plan = await planState(context, file.conf)
    if (plan.layout.epoch === tree.layout.epoch) {
      context.complain(`${context.confFile} says what is in force already, epoch ${tree.layout.epoch}`)
      return
    }
    const reasons = restartReasons(tree.layout, plan.layout)
    if (reasons.length > 0) {
      context.complain(`nothing is changed before \`qmq up\` is started again: ${reasons.join('; ')}`)
      return
    }
    const offered = await link?.offer(plan.layout)
    if (offered !== undefined && offered.kind !== 'written') {
      const why = offered.kind === 'conflict' ? 'another layout is in force in NATS' : 'coordination cannot be reached'
      context.complain(`nothing is changed, the cluster goes on with epoch ${tree.layout.epoch}: ${why}`)
      return
    }
    await writeState(context, plan)
    tree.apply(plan.layout)
    context.complain(`${context.confFile} is read again: epoch ${plan.layout.epoch} is in force`)
  } catch (error) {
    context.complain(`the cluster goes on with epoch ${tree.layout.epoch}: ${errorText(error)}`)
  }
}
