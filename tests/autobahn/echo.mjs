// A node that echoes: `ws`, the most used WebSocket server of Node, with every extension that it has.
//
//   node echo.mjs ADDRESS PORT
//
// Every message goes back as it came, text as text, compressed if compression was agreed on.
import { WebSocketServer } from 'ws'

const [host, port] = process.argv.slice(2)
const server = new WebSocketServer({
  host,
  port: Number(port),
  // the suite sends 4 MiB in frames of 64 bytes
  maxPayload: 256 << 20,
  maxFragments: 0,
  maxBufferedChunks: 0,
  // also what is short: the suite wants to see compressed frames
  perMessageDeflate: { threshold: 0 },
})

server.on('connection', (socket) => {
  // whoever breaks the protocol is told by `ws` itself; there is nothing to add
  socket.on('error', () => {})
  socket.on('message', (message, binary) => socket.send(message, { binary }))
})
server.on('listening', () => console.log('ready'))
