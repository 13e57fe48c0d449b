// A CoAP client made with node-coap that sends the requests of its arguments.
//
// Usage: node_client.js MODULES REQUEST...
//
// MODULES is the folder node_modules that has node-coap. Requests and results are those of
// aiocoap_client.py, without location and steps. An observation whose request has deregister ends by a
// request, others by rejecting the next notification.

'use strict'

const fs = require('fs')
const path = require('path')

const [modules, ...requests] = process.argv.slice(2)
const coap = require(path.join(modules, 'coap'))

const METHODS = { '0.01': 'GET', '0.02': 'POST', '0.03': 'PUT', '0.04': 'DELETE', '0.05': 'FETCH', '0.06': 'PATCH', '0.07': 'iPATCH' }

function observe (request) {
  const options = { ...parameters(request), observe: true }
  // An agent closes its port with its last observation, and may do so before it has sent the request that
  // ends it. It is made to believe that there are others.
  options.agent._requests = Infinity
  const req = coap.request(options)
  let left = request.observe
  req.on('response', (res) => {
    res.on('data', (value) => {
      console.log(JSON.stringify({ code: res.code, payload: value.toString() }))
      if (--left === 0) {
        res.close(request.deregister)
        console.log(JSON.stringify({ ended: true }))
      }
    })
  })
  req.end()
  process.stdin.on('end', () => process.exit(0)).resume()
}

function parameters (request) {
  const url = new URL(request.uri)
  return {
    hostname: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port),
    pathname: decodeURI(url.pathname),
    query: decodeURI(url.search.slice(1)),
    method: METHODS[request.method],
    confirmable: !request.non,
    agent: new coap.Agent({ type: url.hostname.startsWith('[') ? 'udp6' : 'udp4' })
  }
}

function exchange (request) {
  const req = coap.request(parameters(request))
  for (const [number, value] of request.options || []) {
    req.setOption(String(number), Buffer.from(value, 'hex'))
  }
  // A body that does not fit one message is only cut if it is told so. The byte is a Block option with
  // number 0 and a size exponent.
  const body = request.send ? fs.readFileSync(request.send) : Buffer.from(request.payload || '')
  if (request.block !== undefined) {
    req.setOption(body.length > 0 ? 'Block1' : 'Block2', Buffer.of(request.block))
  }
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve({ error: 'no response' }), 1000 * request.wait)
    const settle = (result) => {
      clearTimeout(timer)
      resolve(result)
    }
    req.on('error', (e) => settle({ error: String(e) }))
    req.on('timeout', (e) => settle({ error: String(e) }))
    req.on('response', (res) => {
      const result = { code: res.code, etag: etag(res) }
      if (request.save) {
        fs.writeFileSync(request.save, res.payload)
      } else {
        result.payload = res.payload.toString()
      }
      settle(result)
    })
    req.end(body.length > 0 ? body : undefined)
  })
}

function etag (res) {
  const option = res.options.find((o) => o.name === 'ETag')
  return option ? Buffer.from(option.value).toString('hex') : ''
}

const parsed = requests.map((r) => JSON.parse(r))
if (parsed[0].observe) {
  observe(parsed[0])
} else {
  Promise.all(parsed.map(exchange)).then((results) => {
    for (const result of results) {
      console.log(JSON.stringify(result))
    }
    process.exit(0)
  })
}
