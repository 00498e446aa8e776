import sys; sys.path.insert(0,"/work/ctl/benchmarks")
import numpy as np, warnings; warnings.simplefilter("ignore")
import closed_loop as b
from koopctrl.controllers import RNNMPC
from koopctrl import KoopmanRNN, run_closed_loop
t=b.make_tasks()["pendulum"]; env=t.make_env()
best=[run_closed_loop(env,b.make_nmpc(t,env),t.n_steps,t.reference,x0=x,Q=t.Q,R=t.R).cost for x in t.starts]
print("nmpc",best)
for seed in (0,1):
  m=KoopmanRNN(random_state=seed,**t.network).fit(t.sample(np.random.default_rng(1000+seed)))
  for n,kw in ((1,{}),(3,{}),(10,{}),(1,dict(R_rate=0.001))):
    c=RNNMPC(m,t.horizon,t.Q,t.R,u_min=-5,u_max=5,terminal="none",n_iterations=n,**kw)
    r=[run_closed_loop(env,c,t.n_steps,t.reference,x0=x,Q=t.Q,R=t.R) for x in t.starts]
    print(seed,n,kw,[round(q.cost/x,3) for q,x in zip(r,best)],"ms",np.median(r[0].solve_times)*1e3)
