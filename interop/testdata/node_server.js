// A CoAP server made with node-coap.
//
// Usage: node_server.js MODULES ADDRESS PORT
//
// MODULES is the folder node_modules that has node-coap. The resources are:
//
//     /text, /store   GET, PUT, DELETE   what was put last
//     /reversed       POST               the body backwards
//     /long           GET                100 KiB
//     /slow           GET                answered when the request has been acknowledged
//     /echo/...       GET                path and query
//     /obs            GET, PUT           observable, changes with each PUT
//
// It ends when its standard input ends, so it does not outlive the test that started it.

'use strict'

const path = require('path')

const [modules, address, port] = process.argv.slice(2)
const coap = require(path.join(modules, 'coap'))

const HELLO = Buffer.from('hello')
const LONG = Buffer.from('0123456789abcdef'.repeat(100 * 1024 / 16))
const texts = { '/text': HELLO, '/store': HELLO, '/obs': HELLO }
const observers = new Map() // by address and token

// text answers requests for a resource that holds what was put last.
function text (name, req, res) {
  const old = texts[name]
  switch (req.method) {
    case 'GET':
      if (old === undefined) return answer(res, '4.04')
      if (req.headers.Observe === 0) return observe(req, res, old)
      if (req.headers.Observe === 1) observers.delete(observerOf(req))
      res.setOption('Content-Format', 'application/octet-stream')
      return answer(res, '2.05', old)
    case 'PUT':
      texts[name] = req.payload
      answer(res, old === undefined ? '2.01' : '2.04')
      if (name === '/obs') observers.forEach((o) => o.write(req.payload))
      return
    case 'DELETE':
      delete texts[name]
      return answer(res, '2.02')
  }
  answer(res, '4.05')
}

function observe (req, res, payload) {
  observers.set(observerOf(req), res)
  res.on('finish', () => observers.delete(observerOf(req)))
  res.write(payload)
}

function observerOf (req) {
  return `${req.rsinfo.address} ${req.rsinfo.port} ${req._packet.token.toString('hex')}`
}

function answer (res, code, payload) {
  res.code = code
  res.end(payload)
}

const server = coap.createServer({ type: address.includes(':') ? 'udp6' : 'udp4', piggybackReplyMs: 1000 }, (req, res) => {
  const name = req.url.split('?')[0]
  if (name in texts || ['/text', '/store', '/obs'].includes(name)) return text(name, req, res)
  if (name === '/reversed' && req.method === 'POST') return answer(res, '2.04', Buffer.from(req.payload).reverse())
  if (name.startsWith('/echo/')) return answer(res, '2.05', req.url)
  if (name === '/long') return answer(res, '2.05', LONG)
  if (name === '/slow') return setTimeout(() => answer(res, '2.05', 'slow'), 1100)
  answer(res, '4.04')
})

server.listen(Number(port), address)
process.stdin.on('end', () => process.exit(0)).resume()
