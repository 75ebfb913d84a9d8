/**
 * `qmq redis acl`: the line for the ACL file of the Redis server that conf-qmq names. Its user may run our scripts on this cluster's keys.
 *
 * Redis takes the line by `ACL LOAD`, or by `ACL SETUSER` with the words after `user`. The password is printed as its hash.
 */

import { readAccess } from '../../runtime/layout-shared-state.ts'
import { redisAcl } from '../../runtime/redis-acl.ts'
import { readConfFile } from '../prepare-state.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const redisAclVerb: Verb = {
  name: 'redis acl',
  summary: 'print the user that edges need on the Redis server, for its ACL file',
  run: redisAclLine,
}

async function redisAclLine(context: Context): Promise<ExitCode> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') {
    for (const problem of file.problems) context.complain(problem)
    return 2
  }
  const { cluster, sharedState } = file.conf
  if (sharedState === 'embedded') {
    context.complain('shared-state is embedded: there is no server')
    return 1
  }
  const { user, database } = sharedState
  if (user === undefined) {
    context.complain('shared-state names no user: write it as a section with user: and password-file:')
    return 1
  }
  const { password = '' } = await readAccess(context.world.disk, context.state, sharedState)
  const line = redisAcl({ name: user, password, cluster, database })
  context.print(context.output === 'json' ? JSON.stringify({ line }) : line)
  return 0
}
