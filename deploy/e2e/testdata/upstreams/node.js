// Node as an application's server, without packages: node node.js ADDRESS DIR
'use strict';
const crypto = require('crypto'), fs = require('fs'), http = require('http'), http2 = require('http2'), path = require('path');
const [, , address, dir] = process.argv;
const read = (name) => fs.readFileSync(path.join(dir, name));
const file = read('www/file'), text = read('www/text');

function answer(req, res) {
  res.setHeader('Cache-Control', 'no-store');
  switch (req.url.split('?')[0]) {
    case '/text':
      res.setHeader('Content-Length', text.length);
      return res.end(req.method === 'HEAD' ? undefined : text);
    case '/file': {
      const range = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range || '');
      res.setHeader('Accept-Ranges', 'bytes');
      if (!range) return res.end(file);
      const [from, to] = [Number(range[1]), Number(range[2])];
      res.writeHead(206, { 'Content-Range': `bytes ${from}-${to}/${file.length}`, 'Content-Length': to - from + 1 });
      return res.end(file.subarray(from, to + 1));
    }
    case '/echo':
      return req.pipe(res);
    case '/hints':
      res.writeEarlyHints({ link: '</a.css>; rel=preload; as=style' });
      return res.end(text);
    case '/trailer':
      res.setHeader('Trailer', 'X-Sum');
      res.write(text);
      res.addTrailers({ 'X-Sum': '42' });
      return res.end();
  }
  res.statusCode = 404;
  res.end();
}

// A WebSocket (RFC 6455) that says what it hears, in frames of less than 126 bytes.
function upgrade(req, socket) {
  const key = req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let had = Buffer.alloc(0);
  socket.on('data', (more) => {
    had = Buffer.concat([had, more]);
    while (had.length >= 6 && had.length >= 6 + (had[1] & 127)) {
      const length = had[1] & 127, mask = had.subarray(2, 6), content = Buffer.from(had.subarray(6, 6 + length));
      for (let i = 0; i < length; i++) content[i] ^= mask[i % 4];
      socket.write(Buffer.concat([Buffer.from([had[0], length]), content]));
      if ((had[0] & 15) === 8) socket.end();
      had = had.subarray(6 + length);
    }
  });
  socket.on('error', () => socket.destroy());
}

const servers = [
  http.createServer(answer).on('upgrade', upgrade).listen(3001, address),
  http2.createServer(answer).listen(3002, address),
  http2.createSecureServer({ cert: read('cert.pem'), key: read('key.pem'), allowHTTP1: true }, answer).listen(3003, address),
];
let waiting = servers.length;
for (const s of servers) s.on('listening', () => { if (--waiting === 0) console.log('listens'); });
process.on('SIGTERM', () => process.exit(0));
