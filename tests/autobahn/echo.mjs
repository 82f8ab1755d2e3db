// A node that echoes: `ws`, the most used WebSocket server of Node.js, with every extension that it supports.
//
//   node echo.mjs ADDRESS PORT
//
// Every message is sent back unchanged, text as text, compressed if compression was negotiated.
import { WebSocketServer } from 'ws'

const [host, port] = process.argv.slice(2)
const server = new WebSocketServer({
  host,
  port: Number(port),
  // the suite sends 4 MiB in frames of 64 bytes
  maxPayload: 256 << 20,
  maxFragments: 0,
  maxBufferedChunks: 0,
  // compress short messages too: the suite expects compressed frames
  perMessageDeflate: { threshold: 0 },
})

server.on('connection', (socket) => {
  // `ws` itself closes the connection of a client that violates the protocol
  socket.on('error', () => {})
  socket.on('message', (message, binary) => socket.send(message, { binary }))
})
server.on('listening', () => console.log('ready'))
