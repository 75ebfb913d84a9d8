import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  countHops,
  headerOf,
  receivedLine,
  transactionIdOfReceived,
  wasDeliveredTo,
} from '../../services/protocol/headers.ts'

const id = '01KAXXXXXXXXXXXXXXXXXXXXXX-0'
const hop = {
  helo: 'c.example',
  address: '192.0.2.1',
  by: 'mail.example.com',
  protocol: 'ESMTP',
  id,
  date: '3 Nov 2026 03:25:59 -0000',
}

function chunksOf(text: string, bytes: number): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < text.length; at += bytes) chunks.push(Buffer.from(text.slice(at, at + bytes), 'latin1'))
  return chunks
}

describe('the Received line', () => {
  it('is written in both forms and its id read back', () => {
    const text = `Received: from c.example ([192.0.2.1])\r\n  by mail.example.com with ESMTP id ${id}; 3 Nov 2026 03:25:59 -0000\r\n`
    assert.equal(receivedLine(hop, 'crlf'), text)
    assert.equal(receivedLine(hop, 'lf'), text.replaceAll('\r', ''))
    assert.equal(transactionIdOfReceived(text), id)
    assert.equal(transactionIdOfReceived(receivedLine(hop, 'lf')), id)
    assert.equal(transactionIdOfReceived(receivedLine({ ...hop, address: '2001:db8::1' }, 'lf')), id)
  })

  it('lets a client say nothing that looks like our id', () => {
    const forged = { ...hop, helo: 'x) id 01KAFORGED; \r\n\tby y\x00\xff' }
    const line = receivedLine(forged, 'crlf')
    assert.equal(line.split('\r\n').length, 3)
    assert.equal(transactionIdOfReceived(line), id)
    assert.ok(!line.includes('FORGED;'))
    assert.ok(receivedLine({ ...hop, helo: 'h'.repeat(4000) }, 'lf').length < 998)
    assert.match(receivedLine({ ...hop, helo: '' }, 'lf'), /^Received: from unknown /)
  })

  it('counts only as the very first line and in our own shape', () => {
    const line = receivedLine(hop, 'crlf')
    for (const text of [
      `X: y\r\n${line}`,
      ` ${line}`,
      line.replace('  by', '\tby'),
      line.replace('; ', ';'),
      '',
      `Received: (qmail 1 invoked)\n${line}`,
    ]) {
      assert.equal(transactionIdOfReceived(text), undefined)
    }
  })
})

describe('the header', () => {
  const header =
    'Received: a\r\n\tb\r\nreceived : c\r\nX-Received: no\r\nDelivered-To: B@x.example\r\nSubject: Received: no\r\n'

  it('ends at the first empty line, in any chunks', () => {
    const message = `${header}\r\nReceived: body\r\n`
    for (const bytes of [1, 2, 3, 7, 50, 10_000]) {
      const found = headerOf(chunksOf(message, bytes), 'crlf', 1000)
      assert.equal(found?.toString('latin1'), header)
      const lf = headerOf(chunksOf(message.replaceAll('\r', ''), bytes), 'lf', 1000)
      assert.equal(lf?.toString('latin1'), header.replaceAll('\r', ''))
    }
  })

  it('may be all there is, nothing, or too long', () => {
    assert.equal(headerOf(chunksOf(header, 9), 'crlf', 1000)?.toString('latin1'), header)
    assert.equal(headerOf([], 'crlf', 10)?.length, 0)
    assert.equal(headerOf(chunksOf('\r\nx', 1), 'crlf', 10)?.length, 0)
    assert.equal(headerOf(chunksOf('\nx', 1), 'lf', 10)?.length, 0)
    const exact = headerOf(chunksOf(`${header}\r\nbody`, 11), 'crlf', header.length)
    assert.equal(exact?.toString('latin1'), header)
    assert.equal(headerOf(chunksOf(`${header}\r\nbody`, 11), 'crlf', header.length - 1), undefined)
    assert.equal(headerOf(chunksOf(header, 11), 'crlf', header.length - 1), undefined)
  })

  it('counts hops as qmail does and sees where the message has been', () => {
    for (const text of [header, header.replaceAll('\r', '')]) {
      assert.equal(countHops(Buffer.from(text)), 3)
      assert.equal(wasDeliveredTo(Buffer.from(text), 'b@X.example'), true)
      assert.equal(wasDeliveredTo(Buffer.from(text), 'c@x.example'), false)
    }
    assert.equal(countHops(Buffer.alloc(0)), 0)
    assert.equal(countHops(Buffer.from('Received')), 0)
    assert.equal(countHops(Buffer.from('Received: x\n'.repeat(100))), 100)
  })
})
