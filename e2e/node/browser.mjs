// What the browser tests share: a home and a server of their own, Chromium without a
// screen, an authenticator that is not there, and what must hold of every page.
//
// A script makes a `World`, opens a `Visitor` in it, and does as people do. Every page that
// it shows is looked at by axe-core in light and dark, and no request may leave the origin.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import https from 'node:https';
import { createInterface } from 'node:readline';
import axe from 'axe-core';
import puppeteer from 'puppeteer-core';

const PROGRAM = process.env.PHIAL_PROGRAM;
const CHROMIUM = process.env.PHIAL_CHROMIUM ?? '/usr/bin/chromium';
/** Where pictures of pages go, when somebody wants to see them. */
const PICTURES = process.env.PHIAL_PICTURES;

export const say = (text) => console.log(`  ${text}`);

/** A home of its own, served, and the program's commands in it. */
export class World {
  /** Everybody who visited it. */
  visitors = [];

  static async make(config = '') {
    const world = new World();
    world.dir = mkdtempSync(join(tmpdir(), 'phial-browser-'));
    world.home = join(world.dir, 'home');
    world.first = world.run('init').link;
    if (config) writeFileSync(join(world.home, 'phial.toml'), config);
    await world.serve();
    return world;
  }

  run(...args) {
    const out = execFileSync(PROGRAM, ['--json', '--home', this.home, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const text = out.toString();
    return text.trim() ? JSON.parse(text) : null;
  }

  async serve() {
    const args = ['--json', '--home', this.home, 'serve', '--listen', '127.0.0.1:0'];
    this.server = spawn(PROGRAM, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: this.server.stdout });
    const [line] = await new Promise((good, bad) => {
      lines.once('line', (l) => good([l]));
      this.server.once('exit', (code) => bad(new Error(`the server ended: ${code}`)));
    });
    const said = JSON.parse(line);
    assert.ok(said.base, line);
    this.base = said.base;
    // Passkeys need a name; addresses have none.
    this.port = new URL(said.base).port;
    this.origin = `https://localhost:${this.port}`;
    // The certificate itself: Chromium takes a key of the chain that is sent.
    const own = new X509Certificate(readFileSync(join(this.home, 'tls', 'server.pem')));
    const key = own.publicKey.export({ type: 'spki', format: 'der' });
    this.trusted = createHash('sha256').update(key).digest('base64');
  }

  /** The path of a new invitation. */
  invite(user, ...more) {
    return this.run('user', 'invite', user, ...more).path;
  }

  /** The audit log's entries of a kind. */
  events(kind) {
    return this.run('audit', 'tail', '-n', '500').filter((e) => e.kind === kind);
  }

  async browser() {
    this.chromium ??= await puppeteer.launch({
      executablePath: CHROMIUM,
      headless: true,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        `--user-data-dir=${join(this.dir, 'chromium')}`,
        `--ignore-certificate-errors-spki-list=${this.trusted}`,
      ],
    });
    return this.chromium;
  }

  /** Somebody with a browser of his own. */
  async visitor() {
    const chromium = await this.browser();
    const context = await chromium.createBrowserContext();
    const page = await context.newPage();
    const visitor = await new Visitor(this, context, page).begin();
    this.visitors.push(visitor);
    return visitor;
  }

  /** A request to the FHIR base, with a token. */
  ask(token, method, path, body) {
    const ca = readFileSync(join(this.home, 'tls/ca.pem'));
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/fhir+json' };
    return new Promise((good, bad) => {
      const request = https.request(`${this.base}/${path}`, { method, headers, ca }, (response) => {
        const all = [];
        response.on('data', (piece) => all.push(piece));
        response.on('end', () => {
          const text = [204, 304].includes(response.statusCode) ? null : Buffer.concat(all);
          good(new Response(text, { status: response.statusCode }));
        });
      });
      request.on('error', bad);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** Ends the server in order. */
  async stop() {
    const ended = new Promise((good) => this.server.once('exit', good));
    this.server.kill('SIGTERM');
    await ended;
  }

  async end() {
    // Also what was asked for since the last page was looked at, in every script.
    const wrong = [];
    for (const visitor of this.visitors) {
      try {
        visitor.stayed();
      } catch (error) {
        wrong.push(error);
      }
    }
    await this.chromium?.close();
    await this.stop();
    if (wrong.length > 0) throw wrong[0];
    // Whatever was done, the stores agree with each other.
    this.run('verify');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A person at a browser. */
export class Visitor {
  constructor(world, context, page) {
    Object.assign(this, { world, context, page, left: [], wrong: [], requests: 0, looked: new Set() });
  }

  async begin() {
    const { page, world } = this;
    await page.setViewport({ width: 1100, height: 900 });
    page.on('request', (request) => {
      this.requests += 1;
      const url = new URL(request.url());
      const inside = url.protocol === 'data:' || this.allowed(url);
      if (!inside) this.left.push(request.url());
    });
    page.on('console', (m) => {
      // Refusals of pages have statuses that Chromium reports.
      if (m.type() === 'error' && !m.text().startsWith('Failed to load resource')) this.wrong.push(m.text());
    });
    page.on('pageerror', (e) => this.wrong.push(String(e)));
    this.devtools = await page.createCDPSession();
    this.origins = [world.origin];
    return this;
  }

  /** Another origin that this visit may lead to: an app's. */
  may(origin) {
    this.origins.push(origin);
  }

  allowed(url) {
    return this.origins.includes(url.origin);
  }

  /** An authenticator in the machine, which checks who is there. */
  async authenticator(more = {}) {
    await this.devtools.send('WebAuthn.enable');
    const { authenticatorId } = await this.devtools.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2', transport: 'internal', hasResidentKey: true,
        hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true,
        ...more,
      },
    });
    return authenticatorId;
  }

  async open(path) {
    await this.page.goto(path.startsWith('http') ? path : this.world.origin + path);
    return this.look();
  }

  get path() {
    return new URL(this.page.url()).pathname;
  }

  text() {
    return this.page.$eval('body', (b) => b.innerText);
  }

  heading() {
    return this.page.$eval('h1', (h) => h.innerText);
  }

  async fill(fields) {
    for (const [name, value] of Object.entries(fields)) {
      const field = await this.page.waitForSelector(`[name="${name}"]:not([type=hidden])`, { visible: true });
      await field.evaluate((f) => { f.value = ''; });
      await field.type(value);
    }
  }

  /** Presses a button or follows a link by its words, and waits for the page behind it. */
  async press(words) {
    const found = await this.page.evaluateHandle((wanted) => {
      const all = [...document.querySelectorAll('button, a, summary')];
      return all.find((e) => (e.getAttribute('aria-label') ?? e.innerText).trim() === wanted) ?? null;
    }, words);
    const element = found.asElement();
    assert.ok(element, `nothing on ${this.path} says "${words}": ${await this.text()}`);
    if (await element.evaluate((e) => e.tagName === 'SUMMARY')) {
      await element.click();
      return;
    }
    await Promise.all([this.page.waitForNavigation(), element.click()]);
    await this.look();
  }

  /** Moves on by Tab until something of this id, name or words is in focus. */
  async tabTo(wanted) {
    const names = [];
    for (let n = 0; n < 100; n += 1) {
      const at = await this.page.evaluate(() => {
        const e = document.activeElement;
        return [e.id, e.name, (e.getAttribute('aria-label') ?? e.innerText ?? '').trim()];
      });
      if (at.includes(wanted)) return;
      names.push(at.filter(Boolean).join('/'));
      await this.page.keyboard.press('Tab');
    }
    assert.fail(`${wanted} is not reached by Tab: ${names}`);
  }

  /** Follows a link or presses a button by keyboard. */
  async key(words) {
    await this.tabTo(words);
    await Promise.all([this.page.waitForNavigation(), this.page.keyboard.press('Enter')]);
    await this.look();
  }

  /** Types into a field by keyboard, in the place of what stands there. */
  async type(field, text) {
    await this.tabTo(field);
    await this.page.keyboard.down('Control');
    await this.page.keyboard.press('a');
    await this.page.keyboard.up('Control');
    await this.page.keyboard.type(text);
  }

  /** Chooses the first of a group of radio buttons by keyboard. */
  async choose(name) {
    await this.tabTo(name);
    await this.page.keyboard.press('Space');
  }

  /** That this browser asked for something, and never for anything elsewhere. */
  stayed() {
    assert.ok(this.requests > 0, 'requests are not seen');
    assert.deepEqual(this.wrong, [], 'errors in the console');
    assert.deepEqual(this.left, [], 'requests that left the origin');
  }

  /** What must hold of every page, looked at once for each heading (and state, when a
   * page has several). */
  async look(state = '') {
    const { page } = this;
    this.stayed();
    const title = `${await page.title()} ${state}`.trim();
    if (this.looked.has(title) || !this.allowed(new URL(page.url()))) return;
    this.looked.add(title);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `"${title}" is ${wide} pixels wider than the window`);
    for (const scheme of ['light', 'dark']) {
      await page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: scheme },
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ]);
      // Through the debugger: the page's own policy lets no script in.
      await page.evaluate(axe.source);
      const found = await page.evaluate(() => globalThis.axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      }));
      const said = found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(' | ')}`);
      assert.deepEqual(said, [], `axe-core on "${title}", ${scheme}`);
      if (PICTURES) {
        mkdirSync(PICTURES, { recursive: true });
        await page.screenshot({ path: join(PICTURES, `${title.replace(/[^a-z0-9]+/gi, '-')}-${scheme}.png`), fullPage: true });
      }
    }
    await page.emulateMediaFeatures([]);
  }

  /** From an invitation's link to a log-in with password and passkey. */
  async acceptWithPasskey(link, password) {
    await this.authenticator();
    await this.open(link);
    await this.fill({ password, repeat: password });
    await this.press('Continue');
    await this.press('Add a passkey');
    assert.equal(await this.heading(), 'Your recovery codes');
    await this.press('I have kept them');
  }

  /** From an invitation's link to a log-in with password and authenticator app. Gives the
   * app's key. */
  async acceptWithApp(link, password) {
    await this.open(link);
    await this.fill({ password, repeat: password });
    await this.press('Continue');
    const key = (await this.page.$eval('#totp-key', (e) => e.innerText)).replaceAll(' ', '');
    await this.fill({ code: oathtool(key) });
    await this.press('Add the app');
    assert.equal(await this.heading(), 'Your recovery codes');
    await this.press('I have kept them');
    return key;
  }
}

/** A one-time code as oathtool makes it; steps: how many later than now. */
export function oathtool(key, steps = 0) {
  const now = new Date(Date.now() + steps * 30_000).toISOString().replace('T', ' ').slice(0, 19);
  return execFileSync('oathtool', ['--totp', '--base32', `--now=${now} UTC`, key]).toString().trim();
}
