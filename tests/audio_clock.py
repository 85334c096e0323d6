"""An audio clock that a test moves by hand: what a page plays does not depend on how fast the machine is."""

# Evaluate it before a page plays. pass(seconds) moves the clock and fires the page's timer, which fires at no other
# time; each tone that the page makes takes `secondsPerTone`, as on a slow machine.
BY_HAND = """{
  window.clock = 0;
  window.secondsPerTone = 0;
  window.pass = (seconds) => { window.clock += seconds; window.timer?.(); };
  window.setInterval = (timer) => { window.timer = timer; };
  window.clearInterval = () => { window.timer = null; };
  Object.defineProperty(BaseAudioContext.prototype, "currentTime", { get: () => window.clock });
  const make = BaseAudioContext.prototype.createBuffer;
  BaseAudioContext.prototype.createBuffer = function (...shape) {
    window.clock += window.secondsPerTone;
    return make.apply(this, shape);
  };
}"""
