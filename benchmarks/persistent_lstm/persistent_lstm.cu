// The two kernels of persistent_lstm.py, which explains them and compiles this file by NVRTC for one size at a time.
//
// Constants given by the compiler's command line:
//   H      units, a multiple of 128 up to 512
//   NT     batch rows of a cluster in eights: 1, 2 or 4
//   INPUTS inputs of a row, 1 to 4, whose part of z is computed here; 0: x holds x Wx + b, ready
//   SAVE   forward: keep what the backward kernel needs
//   EVERY  outputs (forward) or their gradients (backward) at every step, not only the last
//   GROUP  forward: so many SMs' parts of h share a barrier; the product starts when the first group is there
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;

constexpr int N = 8 * NT;                // batch rows of a cluster, padded
constexpr int R = H / 32;                // SMs of a cluster; each owns 32 units
constexpr int KS = H / 16;               // k-steps of the forward product
constexpr int THREADS = 256;             // two warpgroups compute; forward has one more, which sends
constexpr int PART = N * 64;             // bytes of one SM's h, or of one partial sum for 32 units
constexpr int SLICE = N * 16;            // bytes of eight k of dz, the operand's [N][8] slice
constexpr int PIECES = (3 * NT + 3) / 4; // 16-byte pieces that a thread saves of a step
constexpr int GROUPS = (R - 1 + GROUP - 1) / GROUP;
constexpr int FEW = INPUTS ? INPUTS : 1; // for sizes that must not be 0

#ifndef EMULATE
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
__device__ __forceinline__ u32 peer(u32 address, u32 rank) {
  u32 r; asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(address), "r"(rank)); return r;
}
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ void barrier_init(u32 bar) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(bar) : "memory");
}
__device__ __forceinline__ void barrier_expect(u32 bar, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(bar), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_wait(u32 bar, u32 parity) {
  asm volatile(
      "{\n.reg .pred p;\nWAIT:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra WAIT;\n}" :: "r"(bar), "r"(parity) : "memory");
}
__device__ __forceinline__ void store_async(u32 to, u32 a, u32 bar) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];"
               :: "r"(to), "r"(a), "r"(bar) : "memory");
}
__device__ __forceinline__ void store_async(u32 to, u32 a, u32 b, u32 bar) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];"
               :: "r"(to), "r"(a), "r"(b), "r"(bar) : "memory");
}
__device__ __forceinline__ void store_async(u32 to, u32 a, u32 b, u32 c, u32 d, u32 bar) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];"
               :: "r"(to), "r"(a), "r"(b), "r"(c), "r"(d), "r"(bar) : "memory");
}
__device__ __forceinline__ void copy_async(u32 to, u32 from, u32 bytes, u32 bar) {
  asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(to), "r"(from), "r"(bytes), "r"(bar) : "memory");
}
// Ordinary writes of shared memory before it, the tensor cores' and copy engine's reads of them after it.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Registers go from the warpgroup that sends to those that hold the weights.
__device__ __forceinline__ void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 24;"); }
__device__ __forceinline__ void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 240;"); }
// Named barriers, by number and threads: wait for all, or only be counted.
__device__ __forceinline__ void meet(int bar, int threads) {
  asm volatile("bar.sync %0, %1;" :: "r"(bar), "r"(threads) : "memory");
}
__device__ __forceinline__ void pass(int bar, int threads) {
  asm volatile("bar.arrive %0, %1;" :: "r"(bar), "r"(threads) : "memory");
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(LEFT) : "memory");
}
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r;
}
__device__ __forceinline__ u32 pack_f16(float low, float high) {
  u32 r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r;
}
__device__ __forceinline__ float f16_low(u32 pair) {
  float r; asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\ncvt.f32.f16 %0, l;\n}" : "=f"(r) : "r"(pair)); return r;
}
__device__ __forceinline__ float f16_high(u32 pair) {
  float r; asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\ncvt.f32.f16 %0, h;\n}" : "=f"(r) : "r"(pair)); return r;
}
__device__ __forceinline__ float tanh_of(float z) {
  float r;
  asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(z));
  return r;
}
#endif

__device__ __forceinline__ float bf16_low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16_high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// Descriptors of 16 k of an operand with N rows; the top byte of a shared address is the SM's rank.
// dz lies in slices of eight k: slices SLICE bytes apart, eights of rows 128.
__device__ __forceinline__ u64 sliced(u32 address) {
  return (u64)((address & 0x3ffff) >> 4 | (SLICE >> 4) << 16) | (u64)8 << 32;
}
// h lies in rows of 32 units, 64 bytes, so that any number of rows is one copy; of a row, 16-byte chunk c lies at
// c ^ (row / 2 % 4), the 64-byte swizzle.
__device__ __forceinline__ u64 swizzled(u32 address) {
  return (u64)((address & 0x3ffff) >> 4 | 1 << 16) | (u64)32 << 32 | (u64)2 << 62;
}
__device__ __forceinline__ int chunk_place(int row, int chunk) { return row * 64 + (chunk ^ (row >> 1 & 3)) * 16; }

//WGMMA

extern "C" __global__ void __launch_bounds__(THREADS + 128, 1) lstm_forward(
    const uint4* __restrict__ weights,  // [R][KS][256] of 8 bfloat16: each thread's own fragments
    const float* __restrict__ kernel,   // [INPUTS][4H]
    const float* __restrict__ bias,     // [4H]
    const float* __restrict__ x,        // [batch][steps][INPUTS], or x Wx + b [batch][steps][4H], columns by thread
    const float* __restrict__ h_first,  // [batch][H]
    const float* __restrict__ c_first,  // [batch][H]
    float* __restrict__ h_last, float* __restrict__ c_last,
    u16* __restrict__ before,           // SAVE: [steps][batch][H], bfloat16 h before each step
    uint4* __restrict__ saved,          // SAVE: [steps][blocks][PIECES][256]
    float* __restrict__ outputs,        // EVERY: [batch][steps][H]
    int batch, int steps, int rows) {
  extern __shared__ __align__(1024) char memory[];
  char* const state = memory;                                // [2][R][N][32] bfloat16, parts in the weights' order
  float* const inputs = (float*)(memory + 2 * R * PART);     // [2][N][INPUTS]
  char* const barriers = memory + 2 * R * PART + 2 * N * 16; // [2][GROUPS]
  constexpr int READY = 1, DONE = 2;                         // named barriers
  const int tid = threadIdx.x, lane = tid & 31, quad = lane >> 2, pair = lane & 3, odd = quad & 1;
  const int rank = cluster_rank(), first = blockIdx.x / R * rows, count = min(rows, batch - first);
  const u32 base = shared_address(memory), bars = shared_address(barriers);
  auto expected = [&](int group) { return min(GROUP, R - 1 - group * GROUP) * count * 64; };

  if (tid >= THREADS) {
    // The warpgroup that sends, of which one warp does it: h to the others, first to those that use it first. Apart,
    // because the copy engine holds up whoever hands it the work, for a thousand cycles a step.
    fewer_registers();
    if (tid == THREADS) {
      for (int i = 0; i < 2 * GROUPS; ++i) barrier_init(bars + 8 * i);
      fence_async();
      for (int i = 0; i < 2 * GROUPS; ++i) barrier_expect(bars + 8 * i, expected(i % GROUPS));
    }
    __syncwarp();
    cluster_sync();
    const int turn = lane + 1;
    const u32 there = peer(base, (rank - turn + 2 * R) % R);
    for (int t = 0; t + 1 < steps && tid < THREADS + 32; ++t) {
      const u32 at = (t & 1) * R * PART;
      meet(READY, THREADS + 32);
      if (turn < R)
        copy_async(there + at + turn * PART, base + at, count * 64,
                   there + (bars - base) + 8 * ((t & 1) * GROUPS + lane / GROUP));
      __syncwarp();
    }
    cluster_sync();
    return;
  }
  more_registers();

  // Weights into registers, once. In the order in which the other SMs' parts of h will arrive: the own part first.
  const int unit = tid >> 5 << 2 | quad >> 1, column = rank * 32 + unit;  // of the SM's 32, and of all
  u32 a[KS][4];
#pragma unroll
  for (int k = 0; k < KS; ++k) {
    const int source = (rank + k / 2) % R;
    const uint4 w = weights[(rank * KS + 2 * source + k % 2) * THREADS + tid];
    a[k][0] = w.x, a[k][1] = w.y, a[k][2] = w.z, a[k][3] = w.w;
  }
  // This thread's rows of the product: gates i and f of its unit (even quads), or g and o.
  float mine[INPUTS + 1][2];
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const int gate = 2 * odd + p;
    const float scale = gate == 2 ? 1.0f : 0.5f;
#pragma unroll
    for (int i = 0; i < INPUTS; ++i) mine[i][p] = scale * kernel[i * 4 * H + gate * H + column];
    if (INPUTS) mine[INPUTS][p] = scale * bias[gate * H + column];
  }
  // Its elements: unit x batch rows 8 j + 2 pair + odd.
  float cell[NT];
#pragma unroll
  for (int j = 0; j < NT; ++j) {
    const int n = 8 * j + 2 * pair + odd;
    cell[j] = n < count ? c_first[(first + n) * H + column] : 0.0f;
  }
  for (int i = tid; i < H / 8 * N; i += THREADS) {
    const int at = i % (H / 8) * 8, n = i / (H / 8), source = at / 32;
    char* const to = state + (source - rank + (source < rank ? R : 0)) * PART + chunk_place(n, at / 8 % 4);
    uint4 v = make_uint4(0, 0, 0, 0);
    *(uint4*)to = v;
    if (n < count) {
      const float4* h = (const float4*)(h_first + (first + n) * H + at);
      const float4 l = h[0], u = h[1];
      v = make_uint4(pack_bf16(l.x, l.y), pack_bf16(l.z, l.w), pack_bf16(u.x, u.y), pack_bf16(u.z, u.w));
      if (SAVE && source == rank) *(uint4*)(before + (size_t)(first + n) * H + at) = v;
    }
    *(uint4*)(to + R * PART) = v;
  }
  float ahead[INPUTS ? 1 : 4 * NT];  // x of the next step
  auto fetch = [&](int t) {
    if (t >= steps) return;
    if (INPUTS) {
      const int n = tid / FEW;
      if (n < count) ahead[0] = x[((size_t)(first + n) * steps + t) * INPUTS + tid % FEW];
    } else {
#pragma unroll
      for (int j = 0; j < NT; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int n = 8 * j + 2 * pair + e;
          float2 v = make_float2(0.0f, 0.0f);
          if (n < count)
            v = *(const float2*)(x + ((size_t)(first + n) * steps + t) * 4 * H + rank * 128 + (tid >> 2) * 2);
          ahead[(4 * j + e) % (INPUTS ? 1 : 4 * NT)] = v.x, ahead[(4 * j + 2 + e) % (INPUTS ? 1 : 4 * NT)] = v.y;
        }
    }
  };
  ahead[0] = 0.0f;
  fetch(0);
  if (INPUTS) {
    if (tid < N * INPUTS) inputs[tid] = ahead[0];
    fetch(1);
  }
  fence_async();
  cluster_sync();

  for (int t = 0; t < steps; ++t) {
    // z starts as x Wx + b.
    float z[4 * NT];
#pragma unroll
    for (int j = 0; j < NT; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (INPUTS) {
          const float* row = inputs + (t & 1) * N * INPUTS + (8 * j + 2 * pair + e) * INPUTS;
          z[4 * j + e] = mine[INPUTS][0], z[4 * j + 2 + e] = mine[INPUTS][1];
#pragma unroll
          for (int i = 0; i < INPUTS; ++i) {
            z[4 * j + e] = fmaf(row[i], mine[i][0], z[4 * j + e]);
            z[4 * j + 2 + e] = fmaf(row[i], mine[i][1], z[4 * j + 2 + e]);
          }
        } else {
          z[4 * j + e] = ahead[(4 * j + e) % (INPUTS ? 1 : 4 * NT)];
          z[4 * j + 2 + e] = ahead[(4 * j + 2 + e) % (INPUTS ? 1 : 4 * NT)];
        }
    if (!INPUTS) fetch(t + 1);
    // Plus W h: the parts of h in the order of their barriers.
    const int from = (t + 1) & 1;
    const u64 parts = swizzled(base + from * R * PART);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < KS; ++k) {
      if (k % 2 == 0 && k > 0 && (k / 2 - 1) % GROUP == 0 && t > 0) {
        const int group = (k / 2 - 1) / GROUP;
        const u32 bar = bars + 8 * (from * GROUPS + group);
        barrier_wait(bar, (t - 1) >> 1 & 1);
        if (tid == 0) barrier_expect(bar, expected(group));
        wgmma_fence();
      }
      wgmma(z, a[k], parts + k / 2 * (PART >> 4) + k % 2 * 2, 1);
    }
    wgmma_commit();
    wgmma_wait<0>();

    // Four gates of a unit are in two threads, for twice the batch rows: they trade.
    char* const own = state + (t & 1) * R * PART;
    u32 words[PIECES * 4];
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      const float give_first = odd ? z[4 * j] : z[4 * j + 1], give_second = odd ? z[4 * j + 2] : z[4 * j + 3];
      const float keep_first = odd ? z[4 * j + 1] : z[4 * j], keep_second = odd ? z[4 * j + 3] : z[4 * j + 2];
      const float got_first = __shfl_xor_sync(0xffffffffu, give_first, 4);
      const float got_second = __shfl_xor_sync(0xffffffffu, give_second, 4);
      const float i = fmaf(0.5f, tanh_of(odd ? got_first : keep_first), 0.5f);
      const float f = fmaf(0.5f, tanh_of(odd ? got_second : keep_second), 0.5f);
      const float g = tanh_of(odd ? keep_first : got_first);
      const float o = fmaf(0.5f, tanh_of(odd ? keep_second : got_second), 0.5f);
      words[2 * j] = pack_f16(i, f), words[2 * j + 1] = pack_f16(g, o);
      words[2 * NT + j] = __float_as_uint(cell[j]);
      cell[j] = fmaf(f, cell[j], i * g);
      const float h = o * tanh_of(cell[j]);
      *(u16*)(own + chunk_place(8 * j + 2 * pair + odd, unit / 8) + unit % 8 * 2) = (u16)pack_bf16(h, 0.0f);
    }
    if (INPUTS) {
      if (tid < N * INPUTS) inputs[((t + 1) & 1) * N * INPUTS + tid] = ahead[0];
    }
    fence_async();
    if (t + 1 < steps) pass(READY, THREADS + 32);
    meet(DONE, THREADS);

    if (SAVE) {
#pragma unroll
      for (int i = 0; i < PIECES; ++i)
        saved[(((size_t)t * gridDim.x + blockIdx.x) * PIECES + i) * THREADS + tid] =
            make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    }
    const int n = tid >> 2, at = rank * 32 + (tid & 3) * 8;
    if (n < count && (SAVE || EVERY || t + 1 == steps)) {
      const uint4 v = *(const uint4*)(own + chunk_place(n, tid & 3));
      if (SAVE && t + 1 < steps) *(uint4*)(before + ((size_t)(t + 1) * batch + first + n) * H + at) = v;
      const float4 l = make_float4(bf16_low(v.x), bf16_high(v.x), bf16_low(v.y), bf16_high(v.y));
      const float4 u = make_float4(bf16_low(v.z), bf16_high(v.z), bf16_low(v.w), bf16_high(v.w));
      if (EVERY) {
        float4* to = (float4*)(outputs + ((size_t)(first + n) * steps + t) * H + at);
        to[0] = l, to[1] = u;
      }
      if (t + 1 == steps) {
        float4* to = (float4*)(h_last + (first + n) * H + at);
        to[0] = l, to[1] = u;
      }
    }
    if (INPUTS) fetch(t + 2);
  }
#pragma unroll
  for (int j = 0; j < NT; ++j) {
    const int n = 8 * j + 2 * pair + odd;
    if (n < count) c_last[(first + n) * H + column] = cell[j];
  }
  __syncwarp();
  cluster_sync();  // nobody leaves while another may still write to it
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) lstm_backward(
    const uint2* __restrict__ weights,       // [R][R][8][128] of 4 bfloat16
    const float* __restrict__ x,             // INPUTS: [batch][steps][INPUTS]
    const uint4* __restrict__ saved,         // [steps][blocks][PIECES][256]
    const float* __restrict__ c_last,        // [batch][H]
    const float* __restrict__ d_outputs,     // EVERY: [batch][steps][H]
    const float* __restrict__ d_h_last, const float* __restrict__ d_c_last,
    u16* __restrict__ d_z,                   // [steps][batch][H][4], bfloat16
    float* __restrict__ d_h_first, float* __restrict__ d_c_first,
    float* __restrict__ d_kernel,            // INPUTS: [clusters][INPUTS + 1][4H], the bias last
    int batch, int steps, int rows) {
  extern __shared__ __align__(1024) char memory[];
  constexpr int TILES = H / 128;                               // of 64 units, for each warpgroup
  char* const sums = memory;                                   // [2][R][32][4][N / 4] bfloat16, a part from each SM
  // dz of the SM's 32 units, [2][16][N][8] bfloat16. Twice, because one warpgroup may begin the next step while the
  // other still multiplies: what this SM sends to itself comes from one of them alone.
  char* const left = memory + 2 * R * PART;
  float* const inputs = (float*)(left + 8 * PART);             // [2][N][INPUTS]
  char* const barriers = left + 8 * PART + 2 * N * 16;         // [2][TILES]
  const int tid = threadIdx.x, lane = tid & 31, quad = lane >> 2, pair = lane & 3, odd = quad & 1;
  const int group = tid >> 7, warp = tid >> 5 & 3;
  const int rank = cluster_rank(), first = blockIdx.x / R * rows, count = min(rows, batch - first);
  const int unit = tid >> 5 << 2 | quad >> 1, column = rank * 32 + unit;
  const u32 base = shared_address(memory), bars = shared_address(barriers);

  // Rows q and q + 8 of a tile go to two SMs, so that what a warp sends to one lies together there. Tile 0 of both
  // warpgroups goes to four SMs, this one first, tile 1 to the four after them.
  u32 a[TILES][8][4];
#pragma unroll
  for (int i = 0; i < TILES; ++i)
#pragma unroll
    for (int k = 0; k < 8; ++k)
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        const int to = (rank + 4 * i + 2 * group + p) % R;
        const uint2 w = weights[((rank * R + to) * 8 + k) * 128 + (tid & 127)];
        a[i][k][p] = w.x, a[i][k][2 + p] = w.y;
      }
  float cell[NT], dc[NT], dh[NT];
#pragma unroll
  for (int j = 0; j < NT; ++j) {
    const int n = 8 * j + 2 * pair + odd;
    const bool live = n < count;
    cell[j] = live ? c_last[(first + n) * H + column] : 0.0f;
    dc[j] = live ? d_c_last[(first + n) * H + column] : 0.0f;
    dh[j] = live ? d_h_last[(first + n) * H + column] : 0.0f;
  }
  float small[INPUTS + 1][4];
#pragma unroll
  for (int i = 0; i <= INPUTS; ++i)
#pragma unroll
    for (int gate = 0; gate < 4; ++gate) small[i][gate] = 0.0f;

  uint4 pieces[PIECES];  // of the next step
  float d_ahead[NT], x_ahead = 0.0f;
  auto fetch = [&](int t) {
    if (t < 0) return;
#pragma unroll
    for (int i = 0; i < PIECES; ++i)
      pieces[i] = saved[(((size_t)t * gridDim.x + blockIdx.x) * PIECES + i) * THREADS + tid];
    if (EVERY) {
#pragma unroll
      for (int j = 0; j < NT; ++j) {
        const int n = 8 * j + 2 * pair + odd;
        d_ahead[j] = n < count ? d_outputs[((size_t)(first + n) * steps + t) * H + column] : 0.0f;
      }
    }
    if (INPUTS) {
      const int n = tid / FEW;
      if (n < count) x_ahead = x[((size_t)(first + n) * steps + t) * INPUTS + tid % FEW];
    }
  };
  fetch(steps - 1);
  if (tid == 0) {
    for (int i = 0; i < 2 * TILES; ++i) barrier_init(bars + 8 * i);
    fence_async();
    for (int i = 0; i < 2 * TILES; ++i) barrier_expect(bars + 8 * i, 4 * PART);
  }
  __syncwarp();
  cluster_sync();

  // Adds to dh what all SMs sent for these elements, as it comes.
  auto gather = [&](int s) {
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
      const u32 bar = bars + 8 * ((s & 1) * TILES + i);
      barrier_wait(bar, s >> 1 & 1);
      if (tid == 0) barrier_expect(bar, 4 * PART);
      const u32* word = (const u32*)(sums + ((s & 1) * R + 4 * i) * PART) + (unit * 4 + pair) * NT;
      u32 got[4][NT > 1 ? NT / 2 : 1];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (NT == 4) {
          const uint2 two = *(const uint2*)(word + k * (PART / 4) + odd * 2);
          got[k][0] = two.x, got[k][NT > 1 ? NT / 2 - 1 : 0] = two.y;
        } else {
          got[k][0] = word[k * (PART / 4) + (NT == 2 ? odd : 0)];
        }
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (NT == 1) {
          dh[0] += odd ? bf16_high(got[k][0]) : bf16_low(got[k][0]);
        } else {
#pragma unroll
          for (int j = 0; j < NT; ++j) dh[j] += j % 2 ? bf16_high(got[k][j / 2]) : bf16_low(got[k][j / 2]);
        }
      }
    }
  };

  u16* d_z_now = d_z + (((size_t)(steps - 1) * batch + first + 2 * pair + odd) * H + column) * 4;
  for (int s = 0; s < steps; ++s) {
    const int t = steps - 1 - s;
    // All that can be had without dh, before waiting for it.
    u32 words[PIECES * 4];
#pragma unroll
    for (int i = 0; i < PIECES; ++i)
      words[4 * i] = pieces[i].x, words[4 * i + 1] = pieces[i].y, words[4 * i + 2] = pieces[i].z, words[4 * i + 3] = pieces[i].w;
    float to_c[NT], to_i[NT], to_f[NT], to_g[NT], to_o[NT], forget[NT];
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      const float i = f16_low(words[2 * j]), f = f16_high(words[2 * j]);
      const float g = f16_low(words[2 * j + 1]), o = f16_high(words[2 * j + 1]);
      const float c_before = __uint_as_float(words[2 * NT + j]), tanh_c = tanh_of(cell[j]);
      to_c[j] = o * fmaf(-tanh_c, tanh_c, 1.0f);
      to_i[j] = g * i * (1.0f - i), to_f[j] = c_before * f * (1.0f - f);
      to_g[j] = i * fmaf(-g, g, 1.0f), to_o[j] = tanh_c * o * (1.0f - o);
      forget[j] = f;
      cell[j] = c_before;
      if (s > 0) dh[j] = 0.0f;
      if (EVERY) dh[j] += d_ahead[j];
    }
    if (INPUTS && tid < N * INPUTS) inputs[(s & 1) * N * INPUTS + tid] = x_ahead;
    if (s > 0) gather(s - 1);
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      const int n = 8 * j + 2 * pair + odd;
      const float d = fmaf(dh[j], to_c[j], dc[j]);
      uint2 packed = make_uint2(pack_bf16(d * to_i[j], d * to_f[j]), pack_bf16(d * to_g[j], dh[j] * to_o[j]));
      if (n >= count) packed = make_uint2(0, 0);
      dc[j] = d * forget[j];
      *(uint2*)(left + (s & 1) * 4 * PART + (unit / 2 * N + n) * 16 + unit % 2 * 8) = packed;
    }
    fence_async();
    __syncthreads();
    fetch(t - 1);  // neither earlier, for the fence waits for loads, nor later, for memory takes long to answer

    // This SM's part of every unit's dh, 64 units at a time; each tile is sent while the next is computed.
    const u64 columns = sliced(base + (2 * R + (s & 1) * 4) * PART);
    float part[2][4 * NT];
    auto send = [&](int i) {
      const float* tile = part[i & 1];
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        const int place = 4 * i + 2 * group + p, to = rank + place - (rank + place >= R ? R : 0);
        const u32 there = peer(base, to), bar = there + (bars - base) + 8 * ((s & 1) * TILES + i);
        const u32 at = there + ((s & 1) * R + place) * PART + ((8 * warp + quad) * 4 + pair) * NT * 4;
        u32 word[NT];
        if (NT == 1) {
          word[0] = pack_bf16(tile[2 * p], tile[2 * p + 1]);
        } else {
#pragma unroll
          for (int j = 0; j < NT / 2; ++j) {
            word[j] = pack_bf16(tile[8 * j + 2 * p], tile[8 * j + 4 + 2 * p]);
            word[NT / 2 + j] = pack_bf16(tile[8 * j + 2 * p + 1], tile[8 * j + 4 + 2 * p + 1]);
          }
        }
        if (NT == 1) store_async(at, word[0], bar);
        if (NT == 2) store_async(at, word[0], word[NT / 2], bar);
        if (NT == 4) store_async(at, word[0], word[1 % NT], word[2 % NT], word[3 % NT], bar);
      }
    };
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) wgmma(part[i & 1], a[i][k], columns + 2 * k * (SLICE >> 4), k > 0);
      wgmma_commit();
      if (i > 0) {
        wgmma_wait<1>();
        send(i - 1);
      }
      if (i == TILES - 1) {  // while the last one is computed, what nobody waits for
#pragma unroll
        for (int j = 0; j < NT; ++j) {
          const int n = 8 * j + 2 * pair + odd;
          const uint2 packed = *(const uint2*)(left + (s & 1) * 4 * PART + (unit / 2 * N + n) * 16 + unit % 2 * 8);
          if (n < count) *(uint2*)(d_z_now + 8 * j * H * 4) = packed;
          if (INPUTS) {
            const float d[4] = {bf16_low(packed.x), bf16_high(packed.x), bf16_low(packed.y), bf16_high(packed.y)};
#pragma unroll
            for (int gate = 0; gate < 4; ++gate) {
#pragma unroll
              for (int i = 0; i < INPUTS; ++i)
                small[i][gate] = fmaf(inputs[(s & 1) * N * INPUTS + n * INPUTS + i], d[gate], small[i][gate]);
              small[INPUTS][gate] += d[gate];
            }
          }
        }
        d_z_now -= (size_t)batch * H * 4;
      }
    }
    wgmma_wait<0>();
    send(TILES - 1);
  }
#pragma unroll
  for (int j = 0; j < NT; ++j) dh[j] = 0.0f;
  gather(steps - 1);
#pragma unroll
  for (int j = 0; j < NT; ++j) {
    const int n = 8 * j + 2 * pair + odd;
    if (n < count) {
      d_h_first[(first + n) * H + column] = dh[j];
      d_c_first[(first + n) * H + column] = dc[j];
    }
  }
  if (INPUTS) {
#pragma unroll
    for (int i = 0; i <= INPUTS; ++i)
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        float sum = small[i][gate];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        sum += __shfl_xor_sync(0xffffffffu, sum, 4);
        if (pair == 0 && odd == 0)
          d_kernel[((size_t)(blockIdx.x / R) * (INPUTS + 1) + i) * 4 * H + gate * H + column] = sum;
      }
  }
  __syncwarp();
  cluster_sync();
}
