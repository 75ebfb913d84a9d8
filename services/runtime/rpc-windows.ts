/**
 * HTTP/2 windows of our gRPC servers. grpc-js has no option for them, and with the standard's 64 KiB (RFC 9113, 6.9.2) a busy reader is
 * asked for leave several times for each message of a stream: the link then waits instead of the disk.
 *
 * Node tells of every stream a server in this process is given; the first of each session widens both windows of it. Where Node should
 * tell no more, streams are slower and nothing else.
 */

import { subscribe } from 'node:diagnostics_channel'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'

/** Bytes a peer may be ahead of its reader. */
export const serverWindowBytes = 4 * 1024 * 1024

const widened = new WeakSet<object>()

subscribe('http2.server.stream.created', (message) => {
  const session = (message as { readonly stream: ServerHttp2Stream }).stream.session as ServerHttp2Session | undefined
  if (session === undefined || widened.has(session)) return
  widened.add(session)
  session.settings({ initialWindowSize: serverWindowBytes })
  session.setLocalWindowSize(serverWindowBytes)
})
