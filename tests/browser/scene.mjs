// A small cluster and a gateway in front of it, for tests of the status page: a stream manager, two nodes that open WebSockets and
// say nothing, and clients. The page test makes all of them fail.
import { spawn, execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const NODES = ['127.0.0.1', '127.0.0.2']
export const TOKEN = randomBytes(16).toString('hex')
const START_TIMEOUT = 30_000

const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

const listen = (server, port, address) => new Promise((resolve, reject) => server.once('error', reject).listen(port, address, resolve))

// A frame of a WebSocket with this text; `mask`: as a client sends it (RFC 6455, 5.2). Texts are short.
const frame = (text, mask) => {
  const payload = Buffer.from(text)
  const head = payload.length < 126 ? [0x81, payload.length] : [0x81, 126, payload.length >> 8, payload.length & 255]
  if (!mask) return Buffer.concat([Buffer.from(head), payload])
  head[1] |= 0x80
  const key = randomBytes(4)
  return Buffer.concat([Buffer.from(head), key, payload.map((byte, index) => byte ^ key[index % 4])])
}

export class Scene {
  sockets = new Set()
  clients = new Set()

  async start () {
    this.folder = mkdtempSync(join(tmpdir(), 'tidegate-page-'))
    const [port, managerPort, nodesPort, monitoring, admin] = await Promise.all(Array.from({ length: 5 }, freePort))
    Object.assign(this, { port, managerPort, nodesPort, monitoring: `http://127.0.0.1:${monitoring}/`, admin: `http://127.0.0.1:${admin}/` })
    this.nodes = NODES.map(() => this.node())
    await Promise.all(this.nodes.map((node, index) => listen(node, nodesPort, NODES[index])))
    await this.startManager()
    const [chain, key] = ['chain.pem', 'key.pem'].map((name) => join(this.folder, name))
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '90', '-subj', '/CN=gateway.test', '-addext', 'subjectAltName=DNS:gateway.test', '-keyout', key, '-out', chain], { stdio: 'ignore' })
    this.config = join(this.folder, 'tidegate.toml')
    writeFileSync(this.config, `
      gateway = { listen = ["127.0.0.1:${port}"], workers = 2, pin = false, drain = "20s" }
      stream_manager = { url = "http://127.0.0.1:${managerPort}", timeout = "500ms" }
      origins = { port = ${nodesPort}, networks = ${JSON.stringify(NODES)}, attempts = 1, quarantine = "20s" }
      answers = { subscribe_ttl = "100ms" }
      websocket = { ping_interval = "off" }
      monitoring = { listen = "127.0.0.1:${monitoring}" }
      admin = { listen = "127.0.0.1:${admin}", token = "env:PAGE_TEST_TOKEN" }
      tls.certificates = [{ chain = ${JSON.stringify(chain)}, key = ${JSON.stringify(key)} }]
      limits = { sessions_per_ip = 5000 }
    `)
    await this.startGateway()
  }

  async startGateway () {
    this.output = ''
    this.gateway = spawn(process.env.TIDEGATE_PROGRAM, ['run', '--config', this.config], { env: { ...process.env, PAGE_TEST_TOKEN: TOKEN }, stdio: ['ignore', 'ignore', 'pipe'] })
    this.gateway.stderr.on('data', (text) => { this.output = (this.output + text).slice(-100_000) })
    this.ended = new Promise((resolve) => this.gateway.once('exit', resolve))
    const deadline = Date.now() + START_TIMEOUT
    for (;;) {
      const ready = await fetch(`${this.monitoring}readyz`).then((answer) => answer.ok, () => false)
      if (ready) return
      if (Date.now() > deadline || this.gateway.exitCode !== null) throw new Error(`the gateway does not start:\n${this.output}`)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  // Replaces a part of the configuration and makes the gateway read it.
  reload (part, other) {
    const text = readFileSync(this.config, 'utf8')
    if (!text.includes(part)) throw new Error(`the configuration has no ${part}`)
    writeFileSync(this.config, text.replace(part, other))
    this.gateway.kill('SIGHUP')
  }

  // A node: opens every WebSocket, and greets.
  node () {
    const server = http.createServer((request, response) => response.writeHead(404).end())
    server.on('upgrade', (request, socket) => {
      this.sockets.add(socket)
      socket.once('close', () => this.sockets.delete(socket)).on('error', () => {}).resume()
      const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
      socket.write(frame('{"data":{"code":"NetConnection.Connect.Success"}}'))
    })
    return server
  }

  // The stream manager names the nodes in turn; it does not know a stream whose name begins with "missing".
  async startManager () {
    let asked = 0
    this.manager = http.createServer((request, response) => {
      if (request.url.includes('missing')) return response.writeHead(404, { 'content-type': 'application/json' }).end('{"errorMessage":"none"}')
      const serverAddress = NODES[asked++ % 2]
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify([{ streamGuid: 'live/s', serverAddress, nodeRole: 'edge', subGroup: 'a', nodeState: 'INSERVICE', subscribers: 0 }]))
    })
    await listen(this.manager, this.managerPort, '127.0.0.1')
  }

  stopManager () {
    this.manager.closeAllConnections()
    return new Promise((resolve) => this.manager.close(resolve))
  }

  // Ends a node with all its sessions, as a crash does.
  killNode (index) {
    for (const socket of this.sockets) if (socket.localAddress === NODES[index]) socket.destroy()
    this.nodes[index].closeAllConnections()
    return new Promise((resolve) => this.nodes[index].close(resolve))
  }

  reviveNode (index) {
    this.nodes[index] = this.node()
    return listen(this.nodes[index], this.nodesPort, NODES[index])
  }

  // Opens a one-step session. Returns { status, id, socket }; without a socket if it was refused.
  open (name, { role = 'subscribe', say } = {}) {
    return new Promise((resolve, reject) => {
      const request = https.request({
        host: '127.0.0.1', port: this.port, servername: 'gateway.test', rejectUnauthorized: false, agent: false,
        path: `/as/v1/proxy/ws/${role}/live/${name}?id=${role}-1&nodeGroup=g1`,
        headers: { host: 'gateway.test', connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') }
      })
      request.on('upgrade', (response, socket) => {
        this.clients.add(socket)
        socket.once('close', () => this.clients.delete(socket)).on('error', () => {}).resume()
        if (say) socket.write(frame(say, true))
        resolve({ status: 101, id: response.headers['x-tidegate-session'], socket })
      })
      request.on('response', (response) => { response.resume(); resolve({ status: response.statusCode, id: response.headers['x-tidegate-session'] }) })
      request.on('error', reject).end()
    })
  }

  async openMany (number, prefix = 'stream', options) {
    const opened = []
    while (opened.length < number) {
      const batch = Array.from({ length: Math.min(20, number - opened.length) }, (_, index) => this.open(`${prefix}${opened.length + index}`, options))
      opened.push(...await Promise.all(batch))
    }
    return opened
  }

  leave () {
    for (const socket of this.clients) socket.destroy()
  }

  async stop () {
    this.leave()
    if (this.gateway?.exitCode === null) {
      this.gateway.kill('SIGKILL')
      await this.ended
    }
    for (const server of [this.manager, ...this.nodes]) { server?.closeAllConnections(); server?.close() }
    for (const socket of this.sockets) socket.destroy()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
