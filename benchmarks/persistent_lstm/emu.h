// Runs the kernels of persistent_lstm.cu on a CPU: for index maps, counts of bytes, deadlocks and races, not for speed.
//
// Every GPU thread is a fiber. A fiber runs until it has to wait; one turn of all fibers is a tick. A message between
// SMs arrives `late` ticks or less after it was sent, and its bytes count on the barrier of the SM that it goes to.
// `slow` holds up the second warpgroup of every fourth SM for that many ticks before each of its products: the two
// warpgroups are then as far apart as the kernels allow. What a GPU would do undefined (an unaligned or wrong target,
// a wait for a barrier that does not exist) ends the process; a deadlock and messages left at the end make run_grid
// return 1. Fences do nothing here, so a missing fence is not seen.
#include <ucontext.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <vector>

// What CUDA has and C++ has not.
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(a, b)
#define __restrict__
#define __shared__
#define __align__(n)
using std::max;
using std::min;
struct uint2 {
  unsigned x, y;
};
struct uint4 {
  unsigned x, y, z, w;
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
static inline uint2 make_uint2(unsigned a, unsigned b) { return {a, b}; }
static inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }
static inline float2 make_float2(float a, float b) { return {a, b}; }
static inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }
static inline unsigned __float_as_uint(float f) {
  unsigned u;
  memcpy(&u, &f, 4);
  return u;
}
static inline float __uint_as_float(unsigned u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static void stop(const char* what) {
  puts(what);
  abort();
}

// The state of the machine.
struct Dim {
  int x;
};
struct Bar {  // an mbarrier of one arrival
  int pending = 1;
  long tx = 0;  // bytes announced and not yet arrived
  int phase = 0;
  bool live = false;
};
struct Block {
  std::vector<char> mem;
  int arrived = 0, gen = 0;                // __syncthreads
  int garrived[16] = {0}, ggen[16] = {0};  // named barriers
  std::map<unsigned, Bar> bars;
};
struct Warp {
  int arrived = 0, gen = 0;
  unsigned v[32];     // what is shuffled
  unsigned a[32][4];  // the fragments of a product
};
struct Msg {
  int when;
  int block;
  unsigned at;
  std::vector<char> data;
  int barblock;
  unsigned bar;
};
struct Fiber {
  ucontext_t ctx;
  std::vector<char> stack;
  bool done = false;
  int tid, block;
};
static std::vector<Block> blocks;
static std::vector<Warp> warps;
static std::vector<Fiber> fibers;
static std::deque<Msg> messages;
static int cluster_size;
static std::vector<std::pair<int, int>> cl;
static ucontext_t scheduler;
static Fiber* now_;
static Dim gridDim;
static long tick = 0, progress = 0;
static int late = 0;
static int slow = 0;

#define threadIdx (Dim{now_->tid})
#define blockIdx (Dim{now_->block})

// Waiting for others: threads of a warp, a block, a cluster.
static void yield() { swapcontext(&now_->ctx, &scheduler); }
static void warp_sync();
static void __syncwarp() { warp_sync(); }
static Block& me() { return blocks[now_->block]; }
static Warp& warp_() { return warps[now_->block * 12 + now_->tid / 32]; }
static const unsigned BASE = 1024;
static char* emu_memory() { return me().mem.data() + BASE; }
static void sync_count(int& arrived, int& gen, int n) {
  int g = gen;
  progress++;
  if (++arrived == n) {
    arrived = 0;
    gen++;
  } else
    while (gen == g) yield();
}
static void __syncthreads() { sync_count(me().arrived, me().gen, 256); }
static void meet(int b, int n) {
  if (me().garrived[b] + 1 > n) stop("too many");
  sync_count(me().garrived[b], me().ggen[b], n);
}
static void pass(int b, int n) {
  progress++;
  if (++me().garrived[b] == n) {
    me().garrived[b] = 0;
    me().ggen[b]++;
  }
}
static void fewer_registers() {}
static void more_registers() {}
static int PER = 256;
static void warp_sync() {
  Warp& w = warp_();
  sync_count(w.arrived, w.gen, 32);
}
static void cluster_sync() {
  auto& c = cl[now_->block / cluster_size];
  sync_count(c.first, c.second, PER * cluster_size);
}

// A shared address carries the SM's rank in its top byte, as on the GPU.
static unsigned shared_address(const void* p) {
  return (unsigned)((char*)p - me().mem.data()) | (unsigned)(now_->block % cluster_size) << 24;
}
static unsigned cluster_rank() { return now_->block % cluster_size; }
static unsigned peer(unsigned a, unsigned r) {
  if ((int)r >= cluster_size) stop("peer out of range");
  return (a & 0xffffff) | r << 24;
}

// Barriers and the messages that count on them.
static Bar& bar_of(int block, unsigned at) {
  Bar& b = blocks[block].bars[at & 0xffffff];
  return b;
}
static void settle(Bar& b) {
  if (b.live && b.pending == 0 && b.tx == 0) {
    b.phase ^= 1;
    b.pending = 1;
    progress++;
  }
}
static void barrier_init(unsigned at) {
  bar_of(now_->block, at) = Bar();
  bar_of(now_->block, at).live = true;
}
static void barrier_expect(unsigned at, unsigned bytes) {
  Bar& b = bar_of(now_->block, at);
  if (!b.live || b.pending != 1) stop("bad expect");
  b.tx += bytes;
  b.pending = 0;
  settle(b);
}
static void barrier_wait(unsigned at, unsigned parity) {
  Bar& b = bar_of(now_->block, at);
  if (!b.live) stop("wait on dead barrier");
  while (b.phase == (int)parity) yield();
  progress++;
}
static void post(unsigned to, const void* data, int bytes, unsigned bar) {
  int c = now_->block / cluster_size * cluster_size;
  Msg m;
  m.when = tick + (late ? rand() % late : 0);
  m.block = c + (to >> 24);
  m.at = to & 0xffffff;
  m.bar = bar & 0xffffff;
  m.barblock = c + (bar >> 24);
  if (m.block != m.barblock) stop("bad target");
  if (to & (bytes >= 16 ? 15 : bytes - 1)) stop("misaligned");
  m.data.assign((const char*)data, (const char*)data + bytes);
  messages.push_back(m);
  progress++;
}
static void store_async(unsigned to, unsigned a, unsigned bar) { post(to, &a, 4, bar); }
static void store_async(unsigned to, unsigned a, unsigned b, unsigned bar) {
  unsigned v[2] = {a, b};
  post(to, v, 8, bar);
}
static void store_async(unsigned to, unsigned a, unsigned b, unsigned c, unsigned d, unsigned bar) {
  unsigned v[4] = {a, b, c, d};
  post(to, v, 16, bar);
}
static void copy_async(unsigned to, unsigned from, unsigned bytes, unsigned bar) {
  post(to, me().mem.data() + (from & 0xffffff), bytes, bar);
}
static void deliver() {
  for (size_t i = 0; i < messages.size();) {
    if (messages[i].when > tick) {
      ++i;
      continue;
    }
    Msg m = messages[i];
    messages.erase(messages.begin() + i);
    progress++;
    memcpy(blocks[m.block].mem.data() + m.at, m.data.data(), m.data.size());
    Bar& b = bar_of(m.block, m.bar);
    if (!b.live) stop("message to dead barrier");
    b.tx -= m.data.size();
    settle(b);
  }
}

// Fences, conversions and the tensor core's product.
static void fence_async() {}
static void wgmma_fence() {}
static void wgmma_commit() {}
template <int L>
static void wgmma_wait() {}
static unsigned bf16(float f) {
  unsigned u = __float_as_uint(f);
  return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
static unsigned pack_bf16(float l, float h) { return bf16(l) | bf16(h) << 16; }
static unsigned half_(float f) {
  _Float16 h = (_Float16)f;
  unsigned short s;
  memcpy(&s, &h, 2);
  return s;
}
static unsigned pack_f16(float l, float h) { return half_(l) | half_(h) << 16; }
static float unhalf(unsigned short s) {
  _Float16 h;
  memcpy(&h, &s, 2);
  return h;
}
static float f16_low(unsigned p) { return unhalf(p & 0xffff); }
static float f16_high(unsigned p) { return unhalf(p >> 16); }
static float tanh_of(float z) { return tanhf(z); }
static float __shfl_xor_sync(unsigned, float v, int m) {
  Warp& w = warp_();
  int l = now_->tid & 31;
  w.v[l] = __float_as_uint(v);
  warp_sync();
  float r = __uint_as_float(w.v[l ^ m]);
  warp_sync();
  return r;
}
static float up(const char* p) {
  unsigned short s;
  memcpy(&s, p, 2);
  return __uint_as_float((unsigned)s << 16);
}

// m64 n(8 NT) k16: A from registers; B from shared memory, by its descriptor, in slices of eight k or 64-byte swizzled.
static void wgmma(float* d, const unsigned* a, unsigned long long desc, int add) {
  Warp& w = warp_();
  int l = now_->tid & 31, q = l >> 2, c = l & 3;
  memcpy(w.a[l], a, 16);
  warp_sync();
  if ((now_->tid >> 7) == 1 && now_->block % 4 == 0)
    for (int i = 0; i < slow; ++i) yield();
  unsigned at = (desc & 0x3fff) << 4, lbo = (desc >> 16 & 0x3fff) << 4, sbo = (desc >> 32 & 0x3fff) << 4;
  const char* m = me().mem.data();
  for (int j = 0; j < NT; ++j)
    for (int e = 0; e < 2; ++e) {
      int n = 8 * j + 2 * c + e;
      for (int p = 0; p < 2; ++p) {
        float sum = add ? d[4 * j + 2 * p + e] : 0.0f;
        for (int k = 0; k < 16; ++k) {
          unsigned word = w.a[q * 4 + (k % 8) / 2][(k / 8) * 2 + p];
          unsigned where = desc >> 62 == 2 ? at + (n / 8) * sbo + (n % 8) * 64 + k * 2
                                           : at + (k / 8) * lbo + (n / 8) * sbo + (n % 8) * 16 + (k % 8) * 2;
          if (desc >> 62 == 2) where ^= (where >> 7 & 3) << 4;
          float x = __uint_as_float(k & 1 ? word & 0xffff0000u : word << 16);
          sum += x * up(m + where);
        }
        d[4 * j + 2 * p + e] = sum;
      }
    }
  warp_sync();
}

// Runs f once for each thread of a grid; 0, or 1 after a deadlock.
static std::function<void()> body;
static void entry() {
  body();
  now_->done = true;
  progress++;
  swapcontext(&now_->ctx, &scheduler);
}
static int run_grid(int grid, int cluster, int shared, int per, std::function<void()> f) {
  PER = per;
  cluster_size = cluster;
  gridDim.x = grid;
  body = f;
  tick = 0;
  messages.clear();
  blocks.assign(grid, Block());
  warps.assign(grid * 12, Warp());
  cl.assign(grid / cluster, {0, 0});
  for (auto& b : blocks) b.mem.assign(BASE + shared, (char)0xff);  // NaN, whatever the type
  fibers.clear();
  fibers.resize(grid * PER);
  for (int i = 0; i < grid * PER; ++i) {
    Fiber& x = fibers[i];
    x.tid = i % PER;
    x.block = i / PER;
    x.stack.resize(48 << 10);
    getcontext(&x.ctx);
    x.ctx.uc_stack.ss_sp = x.stack.data();
    x.ctx.uc_stack.ss_size = x.stack.size();
    x.ctx.uc_link = nullptr;
    makecontext(&x.ctx, entry, 0);
  }
  int left = grid * PER, idle = 0;
  while (left) {
    long before = progress;
    for (auto& x : fibers)
      if (!x.done) {
        now_ = &x;
        swapcontext(&scheduler, &x.ctx);
        if (x.done) --left;
      }
    ++tick;
    deliver();
    idle = progress == before && messages.empty() ? idle + 1 : 0;
    if (idle > 300) {
      printf("deadlock, %d left\n", left);
      return 1;
    }
  }
  deliver();
  if (!messages.empty()) {
    puts("messages after the end");
    return 1;
  }
  return 0;
}
