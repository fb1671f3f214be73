// uWebSockets as it comes inside bun: echo, and rooms as topics that everybody in them is subscribed to.
//
// Usage: bun server.js HOST PORT. Says where it listens as `singletrack serve` does.

const [host, port] = process.argv.slice(2);

const server = Bun.serve({
  hostname: host,
  port: Number(port),
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    const room = path.startsWith("/room/") ? path.slice("/room/".length) : "";
    if (path !== "/echo" && room === "") return new Response("no such path", { status: 404 });
    if (server.upgrade(request, { data: room })) return undefined;
    return new Response("no WebSocket handshake", { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      if (socket.data !== "") socket.subscribe(socket.data);
    },
    message(socket, message) {
      if (socket.data === "") socket.send(message);
      else server.publish(socket.data, message);
    },
  },
});

console.log(`listening on http://${server.hostname}:${server.port}`);
