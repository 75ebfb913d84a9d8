/**
 * Who somebody is to the others of a cluster: the name that the cluster's authority puts into a certificate as a URI.
 *
 *   qmq://CLUSTER/tier/edge/e1       one place of the layout
 *   qmq://CLUSTER/role/operator      a person, and what they may do
 *
 * A peer is known by the whole name and by nothing else: not by its address, not by its host name. A name that is not written exactly
 * as `writeIdentity` writes it is nobody's.
 */

export const tierNames = ['edge', 'queue', 'control'] as const
export type TierName = (typeof tierNames)[number]

export const personRoles = ['viewer', 'operator', 'admin'] as const
export type PersonRole = (typeof personRoles)[number]

export type Identity =
  | { readonly kind: 'tier'; readonly cluster: string; readonly tier: TierName; readonly id: string }
  | { readonly kind: 'role'; readonly cluster: string; readonly role: PersonRole }

export function tierIdentity(cluster: string, tier: TierName, id: string): Identity {
  return { kind: 'tier', cluster, tier, id }
}

export function writeIdentity(identity: Identity): string {
  const { cluster } = identity
  return identity.kind === 'tier'
    ? `qmq://${cluster}/tier/${identity.tier}/${identity.id}`
    : `qmq://${cluster}/role/${identity.role}`
}

export function readIdentity(name: string): Identity | undefined {
  const [, cluster = '', kind, first, second] =
    /^qmq:\/\/([a-z0-9._-]{1,253})\/(tier|role)\/([a-z]{1,16})(?:\/([a-z0-9]{1,16}))?$/.exec(name) ?? []
  const tier = tierNames.find((candidate) => candidate === first)
  if (kind === 'tier' && tier !== undefined && second !== undefined) return tierIdentity(cluster, tier, second)
  const role = personRoles.find((candidate) => candidate === first)
  if (kind === 'role' && role !== undefined && second === undefined) return { kind, cluster, role }
  return undefined
}

/** Whether a certificate with these names may be trusted with something. */
export type NameRule = (names: readonly string[]) => boolean

/** One of the cluster's own processes. A certificate that names two of them is nobody's. */
export function anyTierOf(cluster: string, tiers: readonly TierName[] = tierNames): NameRule {
  return ([name, ...more]) => {
    const identity = name === undefined || more.length > 0 ? undefined : readIdentity(name)
    return identity?.kind === 'tier' && identity.cluster === cluster && tiers.includes(identity.tier)
  }
}

/** This one and no other. */
export function exactly(identity: Identity): NameRule {
  const wanted = writeIdentity(identity)
  return (names) => names.length === 1 && names[0] === wanted
}

/**
 * The URIs among a certificate's alternative names, from the text in which the platform gives them. A value it had to quote is
 * not one of ours; text it could not be made sense of has no names.
 */
export function urisIn(alternativeNames: string): readonly string[] {
  const uris: string[] = []
  const entry = /(?:^|, )([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?=, |$)/y
  while (entry.lastIndex < alternativeNames.length) {
    const found = entry.exec(alternativeNames)
    if (found === null) return []
    const [, kind, value = ''] = found
    if (kind === 'URI' && !value.startsWith('"')) uris.push(value)
  }
  return uris
}
