/**
 * A QMTP client in a process of its own: C connections, each with W packages in flight, M packages in all.
 *
 * Run as `node qmtp-load.ts PORT CONNECTIONS WINDOW MESSAGES BYTES RECIPIENT CREDENTIALS`; prints one JSON line with the milliseconds
 * from the first byte sent to the last reply read, and how many replies were not K. The package is built once. With a directory of credentials it speaks TLS and
 * waits to be welcomed first.
 */

import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'

const [port = 0, connections = 1, window = 1, messages = 1, bytes = 0] = process.argv.slice(2, 7).map(Number)
const recipient = process.argv[7] ?? 'sink@customer1.example'
const credentials = process.argv[8]
const welcome = '0:,'

function dial(): Socket {
  if (credentials === undefined) return connect({ port, host: '127.0.0.1', noDelay: true })
  const [ca, cert, key] = ['ca', 'cert', 'key'].map((name) => readFileSync(join(credentials, `${name}.pem`)))
  const pair = { ca: ca as Buffer, cert: cert as Buffer, key: key as Buffer }
  return connectTls({ port, host: '127.0.0.1', checkServerIdentity: () => undefined, ...pair }).setNoDelay()
}

function netstring(text: string): string {
  return `${text.length}:${text},`
}

function packageOf(textBytes: number): Buffer {
  const header = `From: <bench@example.net>\nTo: <${recipient}>\nSubject: bench\n\n`
  const line = `${'x'.repeat(69)}\n`
  const text = (header + line.repeat(Math.ceil(textBytes / line.length))).slice(0, Math.max(textBytes - 1, 1))
  return Buffer.from(
    netstring(`\n${text}\n`) + netstring('bench@example.net') + netstring(netstring(recipient)),
    'latin1',
  )
}

const wholePackage = packageOf(bytes)
let toSend = messages
let answered = 0
let refused = 0
let begun = 0

function finish(): void {
  process.stdout.write(`${JSON.stringify({ tookMs: performance.now() - begun, refused })}\n`, () => process.exit(0))
}

/** Counts replies: short netstrings whose first byte is the letter. */
function counter(each: (letter: string) => void): (chunk: string) => void {
  let rest = ''
  return (chunk) => {
    rest += chunk
    for (let colon = rest.indexOf(':'); colon >= 0; colon = rest.indexOf(':')) {
      const end = colon + 1 + Number(rest.slice(0, colon)) + 1
      if (rest.length < end) return
      each(rest[colon + 1] ?? '')
      rest = rest.slice(end)
    }
  }
}

function openConnection(): Promise<() => void> {
  return new Promise((resolve) => {
    const socket = dial()
    const send = (): void => {
      if (toSend <= 0) return
      toSend--
      socket.write(wholePackage)
    }
    const receive = counter((letter) => {
      answered++
      if (letter !== 'K') refused++
      if (answered === messages) finish()
      send()
    })
    const start = () => {
      socket.cork()
      for (let count = 0; count < window; count++) send()
      socket.uncork()
    }
    let welcomed = credentials === undefined
    socket.setEncoding('latin1').on('data', (text: string) => {
      if (!welcomed) {
        welcomed = text === welcome
        return welcomed ? resolve(start) : void socket.destroy()
      }
      socket.cork()
      receive(text)
      socket.uncork()
    })
    if (welcomed) socket.once('connect', () => resolve(start))
    socket.once('close', () => {
      process.stderr.write('the server closed the connection\n')
      process.exit(1)
    })
  })
}

const starts = await Promise.all(Array.from({ length: connections }, openConnection))
begun = performance.now()
for (const start of starts) start()
