/** The user of the Redis server that edges need: our keys, the commands of our scripts, and nothing else. */

import { sha256 } from './digest.ts'
import { scriptCommands } from './redis-scripts.ts'
import { keyPrefix } from './shared-state-key.ts'

export interface RedisUser {
  readonly name: string
  readonly password: string
  readonly cluster: string
  readonly database: number
}

/** A line of the server's ACL file. The password is in it as its hash. */
export function redisAcl({ name, password, cluster, database }: RedisUser): string {
  const commands = [...scriptCommands, ...(database === 0 ? [] : ['select'])].map((command) => `+${command}`)
  const words = ['reset', 'on', `#${sha256([password])}`, `~${keyPrefix(cluster)}*`, '-@all', ...commands]
  return ['user', name, ...words].join(' ')
}
